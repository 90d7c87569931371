"""DragGAN as a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bottega.room import System
from bottega.systems.image.draggan.checkpoints import FORMATS
from bottega.systems.image.draggan.config import PRESETS
from bottega.systems.image.draggan.evaluation import evaluate
from bottega.systems.image.draggan.inference import DragGanRequest, dragger, files, infer
from bottega.systems.image.draggan.model import DragGan
from bottega.systems.image.draggan.recipe import STAGES
from bottega.worlds import PortraitsWorld, source_at


def _source(place: str | Path | None) -> Any:  # noqa: ANN401 - a world or a folder; the stage asks for pictures
    return source_at(place, PortraitsWorld())


SYSTEM = System(
    presets=PRESETS,
    build=DragGan,
    request=DragGanRequest,
    infer=infer,
    tiny_request=DragGanRequest(handles="32,30", targets="38,30", steps=2),
    formats=FORMATS,
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    files=files,
    dragger=dragger,
)
