"""Lessons about scenes of nested shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from bottega.errors import RequestError
from bottega.processes.painting import PUBLISHED_SHARES, PaintTask
from bottega.worlds.dice import Dice, mix_text
from bottega.worlds.lessons.lesson import Lesson, Study
from bottega.worlds.settings import check_length, check_size, check_split, within
from bottega.worlds.shapes import Damage, NestedScene, NestedShapesWorld, damaged, figure_class
from bottega.worlds.shapes.grounds import View
from bottega.worlds.shapes.nested import set_up
from bottega.worlds.shapes.painting import paint
from bottega.worlds.shapes.stage import Pose

JOINTS = figure_class("doll").points
ROOM = 1.25  # half the side of a doll's crop, in radii of the doll
DAMAGES = {PaintTask.DENOISE: Damage.NOISE, PaintTask.DERAIN: Damage.RAIN, PaintTask.LIGHTEN: Damage.DARK}
_LESSONS = mix_text("lessons")


@dataclass(frozen=True, kw_only=True, slots=True)
class LessonsWorld:
    """An endless, deterministic source of lessons about scenes of nested shapes; a map-style data set.

    Key points are those of dolls, one in the middle of each picture; all other tasks have whole scenes.

    Args:
        split: "train", "heldout" (scenes with classes that training never shows), or "all".
        size: Side of the pictures in pixels, 32 to 512.
        tasks: Which tasks; drawn as often as published among these.
        most: Most figures of a scene, 1 to 8.
        farthest: Depth of the farthest figures in metres, 3 to 8.
        seed: Any integer.
        length: What `len` says; `sample` takes any index.
    """

    split: str = "train"
    size: int = 64
    tasks: tuple[PaintTask, ...] = tuple(PaintTask)
    most: int = 4
    farthest: float = 4.0
    seed: int = 0
    length: int = 1_000_000

    def __post_init__(self) -> None:
        check_split(self.split)
        check_size(self.size, 32)
        check_length(self.length)
        if not self.tasks:
            raise RequestError("a world of lessons needs at least one task")
        self.scenes()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Lesson:
        return self.sample(within(index, self.length))

    def scenes(self) -> NestedShapesWorld:
        """The world of its scenes."""
        return _scenes(self)

    def sample(self, index: int) -> Lesson:
        """The lesson at any index from 0."""
        dice = Dice(self.seed ^ _LESSONS, index)
        task = dice.weighted(self.tasks, [PUBLISHED_SHARES[task] for task in self.tasks])
        return self.lesson(task, dice)

    def batch(self, indices: Sequence[int]) -> list[Lesson]:
        """The lessons at these indices."""
        return [self.sample(index) for index in indices]

    def lesson(self, task: PaintTask, dice: Dice) -> Lesson:
        """A lesson of one task."""
        example, query = (study(self.scenes(), task, dice) for _ in range(2))
        return Lesson(task=task, example=example, query=query)


@cache
def _scenes(world: LessonsWorld) -> NestedShapesWorld:
    return NestedShapesWorld(
        split=world.split, size=world.size, most=world.most, farthest=world.farthest, seed=world.seed
    )


def study(world: NestedShapesWorld, task: PaintTask, dice: Dice) -> Study:
    """A picture with the answer to one task."""
    if task is PaintTask.KEYPOINTS:
        return doll_study(world, dice)
    scene = paint(*set_up(world, dice), world.size)
    return answered(scene, task, dice)


def answered(scene: NestedScene, task: PaintTask, dice: Dice) -> Study:
    """A scene with the answer to a task; key points are those of its first whole."""
    picture = scene.picture
    match task:
        case PaintTask.DEPTH:
            return Study(picture=picture, depth=scene.depth)
        case PaintTask.SEMANTIC:
            return Study(picture=picture, classes=scene.semantic.astype(np.int64))
        case PaintTask.INSTANCES:
            return Study(picture=picture, instances=scene.instances)
        case PaintTask.KEYPOINTS:
            return Study(picture=picture, points=joints_of(scene))
        case _:
            return Study(picture=damaged(picture, DAMAGES[task], dice), clean=picture)


def doll_study(world: NestedShapesWorld, dice: Dice) -> Study:
    """A crop around a doll with its joints; other figures may stand there, too."""
    return answered(doll_scene(world, dice), PaintTask.KEYPOINTS, dice)


def doll_scene(world: NestedShapesWorld, dice: Dice) -> NestedScene:
    """A scene in which a doll, its first whole, fills most of the picture."""
    stage, poses = set_up(world, dice, [figure_class("doll")])
    return paint(stage, poses, world.size, around(poses[0], dice))


def joints_of(scene: NestedScene) -> np.ndarray:
    """The key points of a scene's first whole, as `Study.points`."""
    points, (height, width) = scene.keypoints[0], scene.labels.shape
    inside = np.all((points >= 0) & (points < (width, height)), axis=1, keepdims=True)
    return np.concatenate([points, inside], axis=1).astype(np.float32)


def around(pose: Pose, dice: Dice) -> View:
    """A view with an actor near its middle, as a detector's box would cut it out."""
    side = 2 * ROOM * pose.reach * dice.between(0.95, 1.15)
    shift = [dice.between(-0.06, 0.06) * side for _ in range(2)]
    return View(left=pose.x - side / 2 + shift[0], top=pose.y - side / 2 + shift[1], zoom=1 / side)
