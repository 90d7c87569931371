"""Speculative decoding as a record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from bottega.data import TextFolder
from bottega.processes.decoding import Language
from bottega.room import Offer, System
from bottega.systems.language.speculative.checkpoints import FORMATS
from bottega.systems.language.speculative.config import PRESETS, SpeculativeOptions, configure
from bottega.systems.language.speculative.evaluation import evaluate
from bottega.systems.language.speculative.inference import SpeculativeRequest, infer
from bottega.systems.language.speculative.model import Speculative
from bottega.systems.language.speculative.recipe import STAGES
from bottega.worlds.queries import QueriesWorld, Topic

JUDGED = tuple(topic for topic in Topic if topic is not Topic.DOCS)


def _connect(model: nn.Module, parts: Mapping[str, Language]) -> None:
    if not isinstance(model, Speculative):
        raise TypeError(f"the room is a Speculative, not a {type(model).__name__}")
    model.connect(parts)


def _source(place: str | Path | None) -> QueriesWorld | TextFolder:
    return QueriesWorld(topics=JUDGED) if place is None or str(place) == "queries" else TextFolder(place)


SYSTEM = System(
    presets=PRESETS,
    build=Speculative,
    request=SpeculativeRequest,
    infer=infer,
    tiny_request=SpeculativeRequest(inputs=("What is (12 + 7) * 3?",), max_new_tokens=12),
    formats=FORMATS,
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    parts={"target": Offer.LANGUAGE},
    connect=_connect,
    options=SpeculativeOptions,
    configure=configure,
)
