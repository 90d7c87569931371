"""Key points as dots: red says how near, green and blue say which. Source: arXiv:2212.02499, section 3.1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bottega.errors import RequestError


@lru_cache(maxsize=8)
def point_colors(count: int) -> np.ndarray:
    """Green and blue of each key point: uint8 `(count, 2)`; 17 points have five levels a channel, 51 apart."""
    levels = 1 + max(level for level in range(1, count + 1) if level**2 <= count)
    numbers = np.arange(count)
    colors = 255 - 256 // levels * np.stack([numbers // levels, numbers % levels], axis=1)
    colors = colors.astype(np.uint8)
    colors.setflags(write=False)
    return colors


@dataclass(frozen=True, kw_only=True, slots=True)
class PointBrush:
    """How large the dots are.

    Args:
        count: Key points.
        spread: Deviation of the red hill in pixels; the authors' 3 on 256 x 192.
        reach: Radius of the coloured disk in pixels; the authors' 4.5, three times a deviation of 1.5.
    """

    count: int = 17
    spread: float = 3.0
    reach: float = 4.5

    def __post_init__(self) -> None:
        if self.count < 1:
            raise RequestError.of("count", self.count, "at least 1")
        if self.spread <= 0 or self.reach < 1:
            raise RequestError.of("spread, reach", f"{self.spread}, {self.reach}", "above 0, and at least 1 pixel")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KeyPoints:
    """Key points that were read.

    Args:
        points: float32 `(count, 2)`: column and row in pixels, the first pixel's middle at 0.5; -1 where none was seen.
        scores: float32 `(count,)`: how red its spot is, 0 to 1; 0 where none was seen.
    """

    points: np.ndarray
    scores: np.ndarray


def paint_points(points: np.ndarray, seen: np.ndarray, size: tuple[int, int], brush: PointBrush) -> np.ndarray:
    """Key points as a picture.

    Args:
        points: float `(count, 2)`: column and row in pixels.
        seen: bool `(count,)`: which to paint.
        size: Height and width.
        brush: How large.

    Returns:
        uint8 `(height, width, 3)`, black far from all points.
    """
    x, y = np.arange(size[1]) + 0.5, np.arange(size[0])[:, None] + 0.5
    picture = np.zeros((*size, 3), dtype=np.uint8)
    best = np.zeros(size)
    colors = point_colors(brush.count)
    for number in np.flatnonzero(seen):
        away = (x - points[number, 0]) ** 2 + (y - points[number, 1]) ** 2
        hill = np.exp(-away / (2 * brush.spread**2))
        nearer = hill > best
        best[nearer] = hill[nearer]
        picture[nearer & (away <= brush.reach**2), 1:] = colors[number]
    picture[..., 0] = np.rint(255 * best)
    return picture


def heat_maps(picture: np.ndarray, count: int) -> np.ndarray:
    """The red of each point's pixels, float32 `(count, height, width)`, 0 to 1; 0 for pixels of others' colours.

    Args:
        picture: `(height, width, 3)`, 0 to 255.
        count: Key points.
    """
    values = picture.astype(np.float32)
    colors = np.concatenate([point_colors(count), np.zeros((1, 2), dtype=np.uint8)]).astype(np.float32)
    far = np.abs(values[..., None, 1:] - colors).sum(axis=-1)  # (height, width, count + 1), the last for none
    of = far.argmin(axis=-1)
    red = np.clip(values[..., 0], 0, 255) / 255
    return np.where(of == np.arange(count)[:, None, None], red, 0.0).astype(np.float32)


def read_points(heat: np.ndarray) -> KeyPoints:
    """The peak of each heat map, refined within its pixel as the top of a Gaussian.

    Args:
        heat: As `heat_maps` makes them, or the mean of several.
    """
    points, scores = np.full((len(heat), 2), -1.0, dtype=np.float32), heat.reshape(len(heat), -1).max(axis=1)
    for number in np.flatnonzero(scores > 0):
        row, column = divmod(int(heat[number].argmax()), heat.shape[2])
        across = _top(heat[number, row, max(column - 1, 0) : column + 2])
        along = _top(heat[number, max(row - 1, 0) : row + 2, column])
        points[number] = (column + 0.5 + across, row + 0.5 + along)
    return KeyPoints(points=points, scores=scores.astype(np.float32))


def _top(three: np.ndarray) -> float:
    """Where the Gaussian through three values has its top, from the middle one, -0.5 to 0.5; 0 where none fits."""
    if len(three) < 3 or three.min() <= 0:
        return 0.0
    before, at, after = np.log(three)
    bend = 2 * at - before - after
    return float(np.clip(0.5 * (after - before) / bend, -0.5, 0.5)) if bend > 1e-6 else 0.0


def mirrored_maps(heat: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Heat maps of the mirrored picture as those of the picture: mirrored back, left and right points swapped.

    Args:
        heat: `(count, height, width)`.
        pairs: Numbers of points that change places.
    """
    order = np.arange(len(heat))
    for left, right in pairs:
        order[[left, right]] = order[[right, left]]
    return heat[order, :, ::-1]
