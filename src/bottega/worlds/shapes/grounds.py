"""What lies behind the figures: even, graded, clouded or patterned grounds that move with the camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from bottega.worlds.dice import Dice
from bottega.worlds.noise import random_bytes

MARGIN = 0.25  # how far the ground reaches beyond the scene's square on each side, in its sides
PATTERNS = ("", "stripes", "checks", "dots")


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Which part of the scene's unit square a picture shows.

    Args:
        left: The picture's left edge in the scene, before mirroring.
        top: Its upper edge.
        zoom: Pictures per scene, above 0: 2 shows a half of each side.
        flip: Whether left and right are swapped.
    """

    left: float = 0.0
    top: float = 0.0
    zoom: float = 1.0
    flip: bool = False

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Points of the scene as points of the picture, both in sides from the upper left corner: float `(..., 2)`."""
        moved = (points - (self.left, self.top)) * self.zoom
        if self.flip:
            moved[..., 0] = 1.0 - moved[..., 0]
        return moved

    def grid(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The scene's x, float32 `(1, size)`, and y, `(size, 1)`, at the middles of the picture's pixels."""
        steps = (np.arange(size, dtype=np.float32) + 0.5) / (size * self.zoom)
        x = steps[::-1] if self.flip else steps
        return (x + np.float32(self.left))[None, :], (steps + np.float32(self.top))[:, None]


WHOLE = View()


def pattern(kind: str, across: np.ndarray, along: np.ndarray) -> np.ndarray:
    """A pattern of period 1 in both coordinates, values -1 and 1 (0 and 1 for dots)."""
    first, second = np.sin(2 * np.pi * across), np.sin(2 * np.pi * along)
    if kind == "stripes":
        return np.where(first > 0, 1.0, -1.0).astype(np.float32)
    product = first * second
    if kind == "checks":
        return np.where(product > 0, 1.0, -1.0).astype(np.float32)
    return (product > 0.35).astype(np.float32)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ground:
    """A ground before it is seen by a camera.

    Args:
        clouds: uint8 `(rows, columns, 3)`, stretched smoothly over the scene and its margin.
        kind: A pattern's name, or "".
        turn: The pattern's axes, `(2, 2)` periods per side of the scene.
        strength: The pattern's grey levels up and down.
        grain: int8 `(side, side)`, stretched likewise: fine noise in grey levels; None for none.
    """

    clouds: np.ndarray
    kind: str
    turn: np.ndarray
    strength: float
    grain: np.ndarray | None

    @property
    def mean(self) -> np.ndarray:
        """The mean colour, float `(3,)`."""
        return self.clouds.reshape(-1, 3).mean(axis=0)

    def seen(self, view: View, size: int) -> np.ndarray:
        """The ground as a picture: float32 `(size, size, 3)`, 0 to 255."""
        picture = stretched(self.clouds, view, size).astype(np.float32)
        if self.kind:
            x, y = view.grid(size)
            axes = self.turn
            value = pattern(self.kind, axes[0, 0] * x + axes[0, 1] * y, axes[1, 0] * x + axes[1, 1] * y)
            picture += (self.strength * value)[..., None]
        if self.grain is not None:
            picture += stretched(self.grain, view, size).astype(np.float32)[..., None] - 128
        return np.clip(picture, 0, 255, out=picture)


def stretched(cells: np.ndarray, view: View, size: int) -> np.ndarray:
    """Cells over the scene and its margin, seen by a camera: uint8 `(size, size, ...)`."""
    rows, columns = cells.shape[:2]
    span = 1 + 2 * MARGIN
    edges = [
        (view.left, columns),
        (view.top, rows),
        (view.left + 1 / view.zoom, columns),
        (view.top + 1 / view.zoom, rows),
    ]
    area = [min(max((edge + MARGIN) / span, 0.0), 1.0) * cells for edge, cells in edges]
    shown = Image.fromarray(cells).resize((size, size), Image.Resampling.BICUBIC, box=tuple(area))
    return np.asarray(shown)[:, ::-1] if view.flip else np.asarray(shown)


def draw_ground(dice: Dice) -> Ground:
    """Draws a ground: a colour, often clouds or a gradient around it, sometimes a pattern, often grain."""
    color = np.array([dice.between(30, 235) for _ in range(3)])
    side = dice.pick((2, 2, 3, 6, 12))
    wide = dice.pick((0, 0, 20, 45))
    cells = np.zeros((side, side, 3)) if wide == 0 else random_bytes(dice, side, side, 3) / 127.5 - 1
    clouds = np.clip(color + wide * cells, 0, 255).astype(np.uint8)
    kind = dice.pick(PATTERNS)
    angle, first, second = dice.between(0, np.pi), dice.between(3, 14), dice.between(3, 14)
    turn = np.array([[np.cos(angle) * first, np.sin(angle) * first], [-np.sin(angle) * second, np.cos(angle) * second]])
    grain = None
    if dice.below(2):
        fine = random_bytes(dice, 128, 128)
        grain = (128 + (fine.astype(np.int16) - 128) * dice.between(0.04, 0.3)).astype(np.uint8)
    return Ground(clouds=clouds, kind=kind, turn=turn.astype(np.float32), strength=dice.between(5, 22), grain=grain)
