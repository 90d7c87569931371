"""AdaMoE as a record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from bottega.data import TextFolder
from bottega.processes.decoding import Language
from bottega.room import System
from bottega.systems.language.adamoe.checkpoints import FORMATS
from bottega.systems.language.adamoe.config import PRESETS, AdaMoeOptions, configure
from bottega.systems.language.adamoe.evaluation import evaluate
from bottega.systems.language.adamoe.inference import AdaMoeRequest, infer
from bottega.systems.language.adamoe.model import AdaMoe
from bottega.systems.language.adamoe.recipe import STAGES, Texts, queries
from bottega.tokenizers import TOKENIZER


def _room(model: nn.Module) -> AdaMoe:
    if not isinstance(model, AdaMoe):
        raise TypeError(f"the room is an AdaMoe, not a {type(model).__name__}")
    return model


def _source(place: str | Path | None) -> Texts:
    return queries() if place in (None, "queries") else TextFolder(place)


def _attach(model: nn.Module, assets: Mapping[str, str]) -> None:
    _room(model).attach(assets)


def _assets(model: nn.Module) -> Mapping[str, str]:
    tokenizer = _room(model).tokenizer
    return {} if tokenizer is None else {TOKENIZER: tokenizer.to_json()}


def _language(model: nn.Module) -> Language:
    return _room(model).language


SYSTEM = System(
    presets=PRESETS,
    build=AdaMoe,
    request=AdaMoeRequest,
    infer=infer,
    tiny_request=AdaMoeRequest(inputs=("What is (12 + 7) * 3?\n",), max_new_tokens=8),
    formats=FORMATS,
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    attach=_attach,
    assets=_assets,
    language=_language,
    options=AdaMoeOptions,
    configure=configure,
)
