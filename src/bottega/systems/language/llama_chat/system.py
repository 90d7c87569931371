"""Llama 2-Chat as a record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from bottega.data import ChatLines
from bottega.processes.decoding import Language
from bottega.room import System
from bottega.systems.language.llama_chat.checkpoints import FORMATS
from bottega.systems.language.llama_chat.config import PRESETS
from bottega.systems.language.llama_chat.evaluation import evaluate
from bottega.systems.language.llama_chat.inference import ChatRequest, infer
from bottega.systems.language.llama_chat.model import ChatModel
from bottega.systems.language.llama_chat.recipe import STAGES, Requests, chat_model
from bottega.worlds.requests import RequestsWorld


def _source(place: str | Path | None) -> Requests:
    return RequestsWorld() if place is None or str(place) == "requests" else ChatLines(Path(place))


def _attach(model: nn.Module, assets: Mapping[str, str]) -> None:
    chat_model(model).attach(assets)


def _assets(model: nn.Module) -> Mapping[str, str]:
    return chat_model(model).assets()


def _language(model: nn.Module) -> Language:
    return chat_model(model).language()


SYSTEM = System(
    presets=PRESETS,
    build=ChatModel,
    request=ChatRequest,
    infer=infer,
    tiny_request=ChatRequest(inputs=("What is 12 + 7? Answer in a sentence.",), max_new_tokens=8),
    formats=FORMATS,
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    attach=_attach,
    assets=_assets,
    language=_language,
)
