"""LLaMA as a record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from bottega.processes.decoding import Language
from bottega.room import System
from bottega.systems.language.llama.checkpoints import FORMATS
from bottega.systems.language.llama.config import PRESETS
from bottega.systems.language.llama.evaluation import evaluate
from bottega.systems.language.llama.inference import LlamaRequest, infer
from bottega.systems.language.llama.model import LlamaPipeline
from bottega.systems.language.llama.recipe import STAGES, Texts, queries_mixture, texts_at


def _source(place: str | Path | None) -> Texts:
    return queries_mixture() if place is None or str(place) == "queries" else texts_at(Path(place))


def _pipeline(model: nn.Module) -> LlamaPipeline:
    if not isinstance(model, LlamaPipeline):
        raise TypeError(f"LLaMA is a LlamaPipeline, not a {type(model).__name__}")
    return model


def _attach(model: nn.Module, assets: Mapping[str, str]) -> None:
    _pipeline(model).attach(assets)


def _assets(model: nn.Module) -> Mapping[str, str]:
    return _pipeline(model).assets()


def _language(model: nn.Module) -> Language:
    return _pipeline(model).language()


SYSTEM = System(
    presets=PRESETS,
    build=LlamaPipeline,
    request=LlamaRequest,
    infer=infer,
    tiny_request=LlamaRequest(inputs=("What is (12 + 7) * 3?\n",), max_new_tokens=8),
    formats=FORMATS,
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    attach=_attach,
    assets=_assets,
    language=_language,
)
