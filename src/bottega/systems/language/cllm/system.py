"""CLLM as a record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from bottega.data import TextFolder
from bottega.processes.decoding import Language
from bottega.room import Offer, System
from bottega.systems.language.cllm.checkpoints import FORMATS
from bottega.systems.language.cllm.config import PRESETS, CllmOptions, configure
from bottega.systems.language.cllm.evaluation import TOPICS, evaluate
from bottega.systems.language.cllm.inference import CllmRequest, infer
from bottega.systems.language.cllm.model import Cllm
from bottega.systems.language.cllm.recipe import STAGES
from bottega.worlds.queries import QueriesWorld


def _tuned(model: nn.Module) -> Cllm:
    if not isinstance(model, Cllm):
        raise TypeError(f"the room is a Cllm, not a {type(model).__name__}")
    return model


def _connect(model: nn.Module, parts: Mapping[str, Language]) -> None:
    _tuned(model).connect(parts)


def _language(model: nn.Module) -> Language:
    return _tuned(model).language


def _source(place: str | Path | None) -> QueriesWorld | TextFolder:
    return QueriesWorld(topics=TOPICS) if place is None or str(place) == "queries" else TextFolder(place)


SYSTEM = System(
    presets=PRESETS,
    build=Cllm,
    request=CllmRequest,
    infer=infer,
    tiny_request=CllmRequest(inputs=("What is (12 + 7) * 3?",), max_new_tokens=12),
    formats=FORMATS,
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    language=_language,
    parts={"target": Offer.LANGUAGE},
    connect=_connect,
    options=CllmOptions,
    configure=configure,
)
