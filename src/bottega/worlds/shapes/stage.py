"""Figures on a stage: what they look like, where they stand before a pinhole camera, and their pictures' outlines.

Lengths in the picture are in its sides, from the upper left corner; depths are in metres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bottega.worlds.dice import Dice
from bottega.worlds.sample import Color
from bottega.worlds.shapes.drawing import COLORS
from bottega.worlds.shapes.figures import FigureClass, Part, Point
from bottega.worlds.shapes.grounds import PATTERNS, Ground

FOCAL = 1.2  # focal length of the camera, in sides of the picture
RADIUS = (0.42, 0.58)  # m, half the height of a figure
NEAREST = 2.0  # m
WALL = (9.0, 10.0)  # m, from the farthest figure on
PAINTS: dict[str, Color] = {**COLORS, "white": (245, 245, 245)}
CONTRAST = 110  # least sum of differences of channels between a piece and what it lies on


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cloth:
    """What a piece looks like: a colour, float `(3,)`, and a pattern ("" for none) with its period and strength."""

    color: np.ndarray
    kind: str = ""
    period: float = 0.3
    strength: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FlatPiece:
    """One piece of an actor: its place in the actor's list of corners, its parent's number (-1 for the whole)."""

    name: str
    level: int
    parent: int
    corners: slice
    cloth: Cloth


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Actor:
    """A figure dressed for a scene.

    Args:
        kind: Its class.
        color: The name of the colour of its whole.
        pieces: The whole first, every piece after what it lies on.
        corners: float `(corners, 2)` of all pieces.
        points: float `(key points, 2)`.
    """

    kind: FigureClass
    color: str
    pieces: tuple[FlatPiece, ...]
    corners: np.ndarray
    points: np.ndarray

    @property
    def name(self) -> str:
        """What it is called: "red house"."""
        return f"{self.color} {self.kind.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """Where an actor stands.

    Args:
        x: Where its middle is seen, in sides.
        y: The same, downwards.
        depth: Of its middle, in m.
        radius: Half its height, in m.
        turn: Clockwise in the picture, in radians.
        lean: About the vertical axis, in radians: with a positive one, its right side is farther away.
        tilt: About the horizontal axis, in radians: with a positive one, its lower side is farther away.
        mirrored: Whether it is the other way round.
    """

    x: float
    y: float
    depth: float
    radius: float = 0.5
    turn: float = 0.0
    lean: float = 0.0
    tilt: float = 0.0
    mirrored: bool = False

    @property
    def reach(self) -> float:
        """Its radius in the picture, in sides."""
        return FOCAL * self.radius / self.depth

    def rotation(self) -> np.ndarray:
        """What carries the figure's axes (right, down, away) to the camera's: `(3, 3)`."""
        c, s = math.cos(self.turn), math.sin(self.turn)
        flip = -1.0 if self.mirrored else 1.0
        turn = np.array([[c * flip, -s, 0.0], [s * flip, c, 0.0], [0.0, 0.0, flip]])
        c, s = math.cos(self.lean), math.sin(self.lean)
        lean = np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])
        c, s = math.cos(self.tilt), math.sin(self.tilt)
        tilt = np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
        return tilt @ lean @ turn

    def middle(self) -> np.ndarray:
        """Its middle before the camera, in m: right, down, away."""
        scale = self.depth / FOCAL
        return np.array([(self.x - 0.5) * scale, (self.y - 0.5) * scale, self.depth])

    def seen(self, points: np.ndarray) -> np.ndarray:
        """Where points of the figure are seen: float `(n, 2)` to `(n, 2)`, in sides."""
        space = (points * self.radius) @ self.rotation()[:, :2].T + self.middle()
        return space[:, :2] * (FOCAL / space[:, 2:]) + 0.5

    def inverse_depth(self) -> tuple[float, float, float]:
        """`a, b, c` of the figure's plane: 1 / depth is `a + b x + c y` where the picture shows it at `(x, y)`."""
        normal = self.rotation()[:, 2]
        slope = normal / float(normal @ self.middle())
        right, down = slope[0] / FOCAL, slope[1] / FOCAL
        return float(slope[2] - 0.5 * (right + down)), float(right), float(down)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stage:
    """What a scene is made of, whatever the camera: actors, the ground, its plane (see `Pose.inverse_depth`), light."""

    actors: tuple[Actor, ...]
    ground: Ground
    wall: tuple[float, float, float]
    light: float = 1.0


def dress(kind: FigureClass, dice: Dice, behind: np.ndarray) -> Actor:
    """Draws a figure and its colours; every piece stands out from what it lies on.

    Args:
        kind: The class.
        dice: Random numbers.
        behind: The ground's mean colour, float `(3,)`.
    """
    figure = kind.draw(dice)
    cloths: dict[str, Cloth] = {}
    pieces: list[FlatPiece] = []
    corners: list[np.ndarray] = []
    color, start = "", 0

    def add(part: Part, level: int, parent: int, below: tuple[np.ndarray, ...]) -> None:
        nonlocal color, start
        if part.name not in cloths:
            paint, cloths[part.name] = draw_cloth(dice, below)
            color = color or paint
        corners.append(part.outline)
        end = start + len(part.outline)
        cloth = cloths[part.name]
        pieces.append(FlatPiece(name=part.name, level=level, parent=parent, corners=slice(start, end), cloth=cloth))
        number, start = len(pieces) - 1, end
        for inner in part.parts:
            add(inner, level + 1, number, (cloth.color, *below[:1]))

    add(figure.root, 0, -1, (behind,))
    points = np.array(figure.points)
    return Actor(kind=kind, color=color, pieces=tuple(pieces), corners=np.concatenate(corners), points=points)


def draw_cloth(dice: Dice, below: Sequence[np.ndarray]) -> tuple[str, Cloth]:
    """A colour's name and a cloth of about that colour that stands out from what lies below."""
    names = list(PAINTS)
    while True:
        name = dice.pick(names)
        color = np.array([min(max(level + dice.between(-14, 14), 0.0), 255.0) for level in PAINTS[name]])
        if all(np.abs(color - other).sum() > CONTRAST for other in below):
            break
        names.remove(name)
        names = names or list(PAINTS)
    kind = dice.pick(PATTERNS[1:]) if dice.unit() < 0.25 else ""
    return name, Cloth(color=color, kind=kind, period=dice.between(0.16, 0.5), strength=dice.between(18, 42))


def place(dice: Dice, count: int, farthest: float) -> list[Pose]:
    """Draws poses at different depths, mostly upright, that do not hide each other altogether."""
    width = (farthest - NEAREST) / count
    slots = dice.choose(range(count), count)
    poses: list[Pose] = []
    for slot in slots:
        depth = NEAREST + width * (slot + 0.2 + 0.6 * dice.unit())
        pose = Pose(x=0.5, y=0.5, depth=depth, radius=dice.between(*RADIUS))
        middle = spot(dice, pose.reach, poses)
        turn = dice.between(-0.35, 0.35) if dice.unit() < 0.7 else dice.between(-math.pi, math.pi)
        poses.append(
            Pose(
                x=middle[0], y=middle[1], depth=depth, radius=pose.radius, turn=turn, lean=dice.between(-0.6, 0.6),
                tilt=dice.between(-0.4, 0.4), mirrored=dice.below(2) == 1,
            )
        )  # fmt: skip
    return poses


def spot(dice: Dice, reach: float, others: Sequence[Pose]) -> Point:
    """A middle that leaves the others visible: the best of some, or the first that hardly overlaps."""
    best, most = (0.5, 0.5), -math.inf
    edge = min(0.8 * reach, 0.5)
    for _ in range(8):
        x, y = dice.between(edge, 1 - edge), dice.between(edge, 1 - edge)
        free = min((math.hypot(x - other.x, y - other.y) / (reach + other.reach) for other in others), default=math.inf)
        if free > most:
            best, most = (x, y), free
        if free > 0.8:
            break
    return best


def draw_wall(dice: Dice) -> tuple[float, float, float]:
    """A plane behind all figures whose depth differs from corner to corner."""
    near, far = 1 / WALL[0], 1 / WALL[1]
    corner, right, down = (dice.between(far, near) for _ in range(3))
    return corner, 0.5 * (right - corner), 0.5 * (down - corner)
