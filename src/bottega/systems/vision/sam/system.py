"""Segment Anything as a record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from bottega.networks import ImageText
from bottega.room import Offer, System
from bottega.systems.vision.sam.checkpoints import FORMATS
from bottega.systems.vision.sam.config import PRESETS
from bottega.systems.vision.sam.evaluation import evaluate
from bottega.systems.vision.sam.inference import SamRequest, SamSegmenter, files, infer
from bottega.systems.vision.sam.model import Sam
from bottega.systems.vision.sam.recipe import STAGES
from bottega.worlds import source_at
from bottega.worlds.segments import SegmentsWorld


def _source(place: str | Path | None) -> Any:  # noqa: ANN401 - a world; the stage asks for masks
    return source_at(place, SegmentsWorld())


def _sam(model: nn.Module) -> Sam:
    if not isinstance(model, Sam):
        raise TypeError(f"Segment Anything is a Sam, not a {type(model).__name__}")
    return model


def _segmenter(model: nn.Module) -> SamSegmenter:
    return SamSegmenter(_sam(model))


def _connect(model: nn.Module, parts: Mapping[str, ImageText]) -> None:
    _sam(model).connect(parts["reader"])


SYSTEM = System(
    presets=PRESETS,
    build=Sam,
    request=SamRequest,
    infer=infer,
    tiny_request=SamRequest(points="128,128"),
    formats=FORMATS,
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    files=files,
    segmenter=_segmenter,
    parts={"reader": Offer.IMAGE_TEXT},
    connect=_connect,
)
