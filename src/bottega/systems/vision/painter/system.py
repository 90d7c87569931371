"""Painter as a record."""

from __future__ import annotations

from pathlib import Path

from bottega.errors import RequestError
from bottega.processes.painting import PaintTask
from bottega.room import System
from bottega.systems.vision.painter.checkpoints import FORMATS
from bottega.systems.vision.painter.config import PRESETS
from bottega.systems.vision.painter.evaluation import evaluate
from bottega.systems.vision.painter.inference import PainterRequest, files, infer
from bottega.systems.vision.painter.model import PainterSystem
from bottega.systems.vision.painter.recipe import STAGES, Lessons
from bottega.worlds.lessons import FolderOfLessons, LessonsWorld


def _source(place: str | Path | None) -> Lessons:
    """The world of lessons ("lessons", or "lessons:depth,semantic" for some of its tasks), or a folder of pairs."""
    name, _, tasks = ("lessons" if place is None else str(place)).partition(":")
    if name != "lessons":
        return FolderOfLessons(Path(str(place)))
    return LessonsWorld(tasks=tuple(_task(part) for part in tasks.split(","))) if tasks else LessonsWorld()


def _task(name: str) -> PaintTask:
    known = [task.value for task in PaintTask]
    if name not in known:
        raise RequestError.of("task", name, f"one of {', '.join(known)}")
    return PaintTask(name)


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
