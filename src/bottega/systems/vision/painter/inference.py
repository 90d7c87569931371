"""Running Painter: an example, its painted answer and queries to painted answers and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bottega.data import read_picture
from bottega.errors import RequestError
from bottega.processes.painting import (
    PaintTask,
    class_colors,
    heat_maps,
    mirrored_maps,
    paint_classes,
    paint_depth,
    paint_instances,
    paint_points,
    read_classes,
    read_depth,
    read_instances,
    read_panoptic,
    read_points,
)
from bottega.results import Origin, save
from bottega.room import PictureFile, Progress, Report
from bottega.systems.vision.painter.config import PainterTasksConfig
from bottega.systems.vision.painter.model import PainterSystem
from bottega.worlds import Dice
from bottega.worlds.lessons import Lesson, LessonsWorld, Study

NEAREST, SMOOTH = Image.Resampling.NEAREST, Image.Resampling.BICUBIC


class Reading(Enum):
    """What is read from a painting."""

    SEMANTIC = "semantic"
    INSTANCES = "instances"
    PANOPTIC = "panoptic"
    DEPTH = "depth"
    KEYPOINTS = "keypoints"
    DENOISE = "denoise"
    DERAIN = "derain"
    LIGHTEN = "lighten"
    PICTURE = "picture"
    """Nothing: whatever the example shows."""

    @property
    def task(self) -> PaintTask | None:
        """The task whose painting it is; classes for segments, and none for a plain picture."""
        if self is Reading.PICTURE:
            return None
        return PaintTask.SEMANTIC if self is Reading.PANOPTIC else PaintTask(self.value)


@dataclass(frozen=True, kw_only=True, slots=True)
class PainterRequest:
    """What to paint."""

    inputs: tuple[PictureFile, ...] = ()
    """Files of the queries; none for one of the task's own scenes of shapes."""
    task: Reading = Reading.SEMANTIC
    """What is read from the painting; it must be what the example shows."""
    prompt: PictureFile | None = None
    """An example's picture. Left out: one of the task's own."""
    target: PictureFile | None = None
    """The example's answer, painted."""
    things: PictureFile | None = None
    """Panoptic: the example's things, painted; `target` are its classes."""
    least_score: float = 0.55
    """Things and segments: least score, 0 to 1."""
    flip_test: bool = False
    """Key points: whether the mirrored query is painted, too, and both are averaged."""
    seed: int = 0
    """Picks the example and the scene where none is given, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:
            raise RequestError.of("seed", self.seed, "between 0 and 2**31 - 1")
        if not 0 <= self.least_score <= 1:
            raise RequestError.of("least_score", self.least_score, "between 0 and 1")
        if (self.prompt is None) != (self.target is None):
            raise RequestError("an example is a prompt with its target; give both or neither")
        if self.task is Reading.PICTURE and self.prompt is None:
            raise RequestError("a plain picture needs an example to follow; give a prompt and a target, or a task")
        if (self.things is not None) != (self.task is Reading.PANOPTIC and self.prompt is not None):
            raise RequestError("things belong to panoptic with an example of your own: give the example's things there")
        if self.flip_test and self.task is not Reading.KEYPOINTS:
            raise RequestError("flip_test is for key points; choose task keypoints or leave it out")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PainterResult:
    """Paintings, and what they say.

    Args:
        painted: One uint8 `(height, width, 3)` a query, of its shape; classes of panoptic.
        read: Of each query what was read, by name.
        texts_: What each painting is.
        seed: The request's.
        settings: What else made them, for people to read.
        origin: The recipe; filled in by a loaded system.
    """

    painted: tuple[np.ndarray, ...]
    read: tuple[Mapping[str, np.ndarray], ...]
    texts_: tuple[str, ...]
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = None

    def items(self) -> list[np.ndarray]:
        """The paintings."""
        return list(self.painted)

    def texts(self) -> tuple[str, ...]:
        """What each painting is."""
        return self.texts_

    def arrays(self) -> Mapping[str, np.ndarray]:
        """`painted` and what was read from it; of several queries `painted_0`, `painted_1`, ..."""
        several = len(self.painted) > 1
        named = [{"painted": one, **read} for one, read in zip(self.painted, self.read, strict=True)]
        return {f"{k}_{i}" if several else k: value for i, one in enumerate(named) for k, value in one.items()}

    def save(self, path: str | Path) -> list[Path]:
        """Writes the result; the path's extension picks the form. See `bottega.results.save`."""
        return save(self, path)


@torch.inference_mode()
def infer(model: PainterSystem, request: PainterRequest, report: Report) -> PainterResult:
    """Paints the queries and reads the paintings.

    Args:
        model: The model.
        request: What to paint.
        report: Called after every painting; may raise `Cancelled`.

    Raises:
        FileError: A picture cannot be read.
    """
    config, task = model.config, request.task.task
    given = None if request.target is None else read_picture(request.target)
    lesson = None if task is None else own_lesson(task, config, request.seed)
    if request.prompt is not None and given is not None:
        example, target = read_picture(request.prompt), given
    else:
        example, target = _own(lesson).example.picture, painted_answer(_own(lesson).example, _task(task), config)
    queries = [read_picture(name) for name in request.inputs] or [
        example if lesson is None else lesson.query.picture
    ]  # fmt: skip
    pairs = [(example, target)]
    if request.task is Reading.PANOPTIC:
        pairs.append(_things_example(request, config))
    painted, read = [], []
    for number, query in enumerate(queries, 1):
        paintings = [paint_one(model, pair, query, task) for pair in pairs]
        if request.flip_test:
            paintings.append(paint_one(model, pairs[0], query[:, ::-1], task))
        read.append(read_painting(paintings, request, config))
        painted.append(np.clip(np.rint(paintings[0]), 0, 255).astype(np.uint8))
        report(Progress(step=number, total=len(queries), stage="paint"))
    settings = {"task": request.task.value, "example": request.prompt or "its own"}
    words = tuple(f"{request.task.value} of {name}" for name in request.inputs or ("its own scene",))
    return PainterResult(painted=tuple(painted), read=tuple(read), texts_=words, seed=request.seed, settings=settings)


def _own(lesson: Lesson | None) -> Lesson:
    if lesson is None:
        raise RequestError("a plain picture needs an example to follow; give a prompt and a target, or a task")
    return lesson


def _task(task: PaintTask | None) -> PaintTask:
    return PaintTask.SEMANTIC if task is None else task


def own_lesson(task: PaintTask, config: PainterTasksConfig, seed: int) -> Lesson:
    """An example and a query of a task, drawn at the network's size (within what the world draws)."""
    size = min(max(config.network.size, 32), 512)
    return LessonsWorld(size=size).lesson(task, Dice(seed, 0))


def _things_example(request: PainterRequest, config: PainterTasksConfig) -> tuple[np.ndarray, np.ndarray]:
    """The example of things that panoptic needs beside that of classes."""
    if request.prompt is not None and request.things is not None:
        return read_picture(request.prompt), read_picture(request.things)
    example = own_lesson(PaintTask.INSTANCES, config, request.seed).example
    return example.picture, painted_answer(example, PaintTask.INSTANCES, config)


def painted_answer(study: Study, task: PaintTask, config: PainterTasksConfig) -> np.ndarray:
    """A study's answer in a size's colours: uint8 `(height, width, 3)`.

    Raises:
        RequestError: The study has no answer to this task.
    """
    shape = (study.picture.shape[0], study.picture.shape[1])
    match task:
        case _ if study.painted is not None:
            return study.painted
        case PaintTask.SEMANTIC if study.classes is not None:
            colors = class_colors(config.classes)
            return paint_classes(np.where(study.classes < config.classes, study.classes, -1), colors)
        case PaintTask.INSTANCES if study.instances is not None:
            return paint_instances(study.instances, config.locations)
        case PaintTask.DEPTH if study.depth is not None:
            return paint_depth(study.depth, config.farthest)
        case PaintTask.KEYPOINTS if study.points is not None:
            points = study.points[: config.brush.count]
            padded = np.zeros((config.brush.count, 3), dtype=np.float32)
            padded[: len(points)] = points
            return paint_points(padded[:, :2], padded[:, 2] > 0, shape, config.brush)
        case _ if study.clean is not None:
            return study.clean
    raise RequestError(f"this lesson has no answer to {task.value}; choose another task")


def square(picture: np.ndarray, size: int, how: Image.Resampling) -> torch.Tensor:
    """A picture, uint8, stretched to the network's square: `(3, size, size)` in [0, 1]."""
    if picture.shape[:2] != (size, size):
        picture = np.asarray(Image.fromarray(picture).resize((size, size), how))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def paint_one(
    model: PainterSystem, pair: tuple[np.ndarray, np.ndarray], query: np.ndarray, task: PaintTask | None
) -> np.ndarray:
    """One query's painting in its own shape: float32 `(height, width, 3)`, about 0 to 255."""
    size, flat = model.config.network.size, task is not None and task.flat
    example, target, asked = (
        square(picture, size, how)[None].to(model.device)
        for picture, how in ((pair[0], SMOOTH), (pair[1], NEAREST if flat else SMOOTH), (query, SMOOTH))
    )
    made = model.paint(example, target, asked)
    shape = (query.shape[0], query.shape[1])
    if shape != (size, size):
        mode = "nearest" if flat else "bilinear"
        made = torch.nn.functional.interpolate(made, size=shape, mode=mode)
    return 255 * made[0].permute(1, 2, 0).cpu().numpy()


def read_painting(
    paintings: list[np.ndarray], request: PainterRequest, config: PainterTasksConfig
) -> dict[str, np.ndarray]:
    """What paintings say, by name.

    Args:
        paintings: `(height, width, 3)`, 0 to 255: the answer; for panoptic the things after the classes; for key points
            perhaps that of the mirrored query after it.
        request: What is read.
        config: The colours.
    """
    first = paintings[0]
    match request.task:
        case Reading.SEMANTIC:
            return {"classes": read_classes(first, class_colors(config.classes))}
        case Reading.INSTANCES:
            found = read_instances(first, config.locations, least_pixels=4).above(request.least_score)
            return {"masks": found.masks, "scores": found.scores, "centers": found.centers}
        case Reading.PANOPTIC:
            things = read_instances(paintings[1], config.locations, least_pixels=4)
            read = read_panoptic(
                first, things, class_colors(config.classes), config.stuff, least_score=request.least_score
            )
            return {"segments": read.segments, "classes": read.classes, "things": read.things, "scores": read.scores}
        case Reading.DEPTH:
            return {"depth": read_depth(first, config.farthest)}
        case Reading.KEYPOINTS:
            heat = heat_maps(first, config.brush.count)
            if len(paintings) > 1:
                mirrored = mirrored_maps(heat_maps(paintings[1], config.brush.count), config.mirror_pairs)
                heat = (heat + mirrored) / 2
            points = read_points(heat)
            return {"keypoints": points.points, "scores": points.scores}
    return {}


def files(request: PainterRequest) -> tuple[str, ...]:
    """The pictures that a request reads."""
    named = (*request.inputs, request.prompt, request.target, request.things)
    return tuple(name for name in named if name)
