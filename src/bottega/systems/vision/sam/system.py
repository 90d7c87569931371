"""Segment Anything as a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from bottega.room import System
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


def _segmenter(model: nn.Module) -> SamSegmenter:
    if not isinstance(model, Sam):
        raise TypeError(f"Segment Anything is a Sam, not a {type(model).__name__}")
    return SamSegmenter(model)


SYSTEM = System(
    presets=PRESETS,
    build=Sam,
    request=SamRequest,
    infer=infer,
    tiny_request=SamRequest(points="128,128"),
    formats=FORMATS,
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    files=files,
    segmenter=_segmenter,
)
