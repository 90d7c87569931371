"""Painter as a record."""

from __future__ import annotations

from pathlib import Path

from bottega.room import System
from bottega.systems.vision.painter.checkpoints import FORMATS
from bottega.systems.vision.painter.config import PRESETS
from bottega.systems.vision.painter.evaluation import evaluate
from bottega.systems.vision.painter.inference import PainterRequest, files, infer
from bottega.systems.vision.painter.model import PainterSystem
from bottega.systems.vision.painter.recipe import STAGES, Lessons
from bottega.worlds.lessons import FolderOfLessons, LessonsWorld


def _source(place: str | Path | None) -> Lessons:
    """The world of lessons, or a folder of pairs."""
    return LessonsWorld() if place is None or str(place) == "lessons" else FolderOfLessons(Path(place))


SYSTEM = System(
    presets=PRESETS,
    build=PainterSystem,
    request=PainterRequest,
    infer=infer,
    tiny_request=PainterRequest(),
    formats=FORMATS,
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    files=files,
)
