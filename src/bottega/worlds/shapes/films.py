"""Films of nested shapes: figures that move, turn and come nearer, a moving camera, and cuts; exact masks per frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bottega.errors import RequestError
from bottega.worlds.dice import Dice, mix_text
from bottega.worlds.english import article, listed
from bottega.worlds.settings import check_length, check_share, within
from bottega.worlds.shapes.grounds import MARGIN, View
from bottega.worlds.shapes.nested import NestedShapesWorld, set_up
from bottega.worlds.shapes.painting import paint
from bottega.worlds.shapes.scene import NestedScene
from bottega.worlds.shapes.stage import Pose, Stage, place

_FILMS = mix_text("films")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NestedClip:
    """A film with everything that is known about it.

    Args:
        scenes: One scene per frame. All have the same pieces with the same numbers, seen or not.
        cuts: Frames at which a new shot begins; 0 is not listed.
        caption: A true sentence.
    """

    scenes: tuple[NestedScene, ...]
    cuts: tuple[int, ...]
    caption: str

    @property
    def frames(self) -> np.ndarray:
        """The pictures: uint8 `(time, height, width, 3)`."""
        return np.stack([scene.picture for scene in self.scenes])

    def masks(self, numbers: Sequence[int] | None = None) -> np.ndarray:
        """Where pieces are seen in every frame: bool `(time, pieces, height, width)`; None for the wholes."""
        chosen = self.scenes[0].wholes if numbers is None else numbers
        return np.stack([scene.masks(chosen) for scene in self.scenes])


@dataclass(frozen=True, kw_only=True, slots=True)
class Motion:
    """How an actor moves through a shot; times in shots.

    Args:
        start: Its pose in the middle of the shot.
        across: Sides of the picture per shot, to the right.
        down: The same, downwards.
        swing: How far it swings across its way, in sides.
        spin: Radians per shot.
        nearer: Natural logarithm of how much larger it is seen at the end than at the start.
        wave: Phase of swing and lean, in radians.
    """

    start: Pose
    across: float
    down: float
    swing: float
    spin: float
    nearer: float
    wave: float

    def at(self, time: float) -> Pose:
        """The pose at a time from 0 to 1."""
        way = time - 0.5
        swing = self.swing * math.sin(2 * math.pi * time + self.wave)
        speed = math.hypot(self.across, self.down) or 1.0
        return replace(
            self.start,
            x=self.start.x + self.across * way - swing * self.down / speed,
            y=self.start.y + self.down * way + swing * self.across / speed,
            depth=self.start.depth * math.exp(-self.nearer * way),
            turn=self.start.turn + self.spin * way,
            lean=self.start.lean + 0.3 * math.sin(2 * math.pi * time + self.wave),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CameraPath:
    """How the camera moves through a shot: its view in the middle, the way of its middle, and its zoom's logarithm."""

    view: View
    across: float
    down: float
    nearer: float

    def at(self, time: float) -> View:
        """What it sees at a time from 0 to 1; it never leaves the ground."""
        way = time - 0.5
        zoom = self.view.zoom * math.exp(self.nearer * way)
        edges = (
            min(max(near + 0.5 / self.view.zoom + step * way - 0.5 / zoom, -MARGIN), 1 + MARGIN - 1 / zoom)
            for near, step in ((self.view.left, self.across), (self.view.top, self.down))
        )
        left, top = edges
        return View(left=left, top=top, zoom=zoom, flip=self.view.flip)


@dataclass(frozen=True, kw_only=True, slots=True)
class NestedFilmsWorld:
    """An endless, deterministic source of films of nested shapes; a map-style data set.

    Args:
        scenes: The world of their scenes: split, size, number of figures, seed.
        frames: Frames of a film, 2 to 256.
        cuts: Share of films with a cut, after which some figures are still there, elsewhere.
        pace: How fast everything moves, 0 (a still picture) to 2.
        length: What `len` says; `sample` takes any index.
    """

    scenes: NestedShapesWorld = NestedShapesWorld()
    frames: int = 12
    cuts: float = 0.2
    pace: float = 1.0
    length: int = 1_000_000

    def __post_init__(self) -> None:
        if not 2 <= self.frames <= 256:
            raise RequestError.of("frames", self.frames, "between 2 and 256")
        if not 0 <= self.pace <= 2:
            raise RequestError.of("pace", self.pace, "between 0 and 2")
        check_share("cuts", self.cuts)
        check_length(self.length)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> NestedClip:
        return self.sample(within(index, self.length))

    def sample(self, index: int) -> NestedClip:
        """The film at any index from 0."""
        dice = Dice(self.scenes.seed ^ _FILMS, index)
        stage, poses = set_up(self.scenes, dice)
        lengths = [self.frames]
        if self.frames >= 4 and dice.unit() < self.cuts:
            cut = self.frames // 3 + dice.below(self.frames // 3 + 1)
            lengths = [cut, self.frames - cut]
        frames: list[NestedScene] = []
        for shot, length in enumerate(lengths):
            if shot:
                poses = place(dice, len(poses), self.scenes.farthest)
            frames += film(stage, poses, length, self, dice)
        cuts = tuple(int(cut) for cut in np.cumsum(lengths)[:-1])
        names = [article(actor.name) for actor in stage.actors]
        return NestedClip(scenes=tuple(frames), cuts=cuts, caption=f"a film of {listed(names)}")

    def batch(self, indices: Sequence[int]) -> list[NestedClip]:
        """The films at these indices."""
        return [self.sample(index) for index in indices]


def film(stage: Stage, poses: Sequence[Pose], frames: int, world: NestedFilmsWorld, dice: Dice) -> list[NestedScene]:
    """One shot: draws the actors' motions and the camera's, and paints the frames."""
    motions = [draw_motion(pose, world.pace, dice) for pose in poses]
    pace = world.pace if dice.below(2) else 0.0
    zoom = dice.between(1.0, 1.25)
    camera = CameraPath(
        view=View(left=0.5 - 0.5 / zoom, top=0.5 - 0.5 / zoom, zoom=zoom),
        across=pace * dice.between(-0.25, 0.25),
        down=pace * dice.between(-0.2, 0.2),
        nearer=pace * dice.between(-0.2, 0.2),
    )
    times = [(frame + 0.5) / frames for frame in range(frames)]
    return [paint(stage, [motion.at(time) for motion in motions], world.scenes.size, camera.at(time)) for time in times]


def draw_motion(pose: Pose, pace: float, dice: Dice) -> Motion:
    """How an actor moves whose pose in the middle of the shot is known."""
    return Motion(
        start=pose,
        across=pace * dice.between(-0.6, 0.6),
        down=pace * dice.between(-0.3, 0.3),
        swing=pace * dice.between(0.0, 0.08),
        spin=pace * dice.between(-0.9, 0.9),
        nearer=pace * dice.between(-0.25, 0.25),
        wave=dice.between(0.0, 2 * math.pi),
    )
