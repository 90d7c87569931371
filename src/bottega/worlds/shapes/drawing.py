"""Flat shapes with exact edges: coverage from signed distances, in pixels, negative inside.

Every shape is a function of points `x` (right) and `y` (down) from its centre, scaled to fit the unit circle's box.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from bottega.worlds.sample import Color

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]

COLORS: dict[str, Color] = {
    "red": (224, 36, 36),
    "orange": (255, 140, 0),
    "yellow": (250, 208, 20),
    "green": (34, 150, 62),
    "turquoise": (32, 190, 186),
    "blue": (30, 90, 220),
    "purple": (128, 56, 190),
    "pink": (246, 130, 180),
    "brown": (130, 80, 40),
    "grey": (140, 144, 150),
    "black": (28, 28, 32),
}


def polygon(corners: np.ndarray) -> Distance:
    """The signed distance to a simple polygon.

    Args:
        corners: float `(n, 2)`, in order around it.

    Source: distance to each edge as a segment; inside by counting crossings of a ray to the right.
    """
    starts, ends = corners, np.roll(corners, -1, axis=0)
    edges = ends - starts

    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        from_x, from_y = x[..., None] - starts[:, 0], y[..., None] - starts[:, 1]
        along = (from_x * edges[:, 0] + from_y * edges[:, 1]) / (edges**2).sum(axis=1)
        along = np.clip(along, 0.0, 1.0)
        nearest = np.hypot(from_x - along * edges[:, 0], from_y - along * edges[:, 1]).min(axis=-1)
        spans = (starts[:, 1] > y[..., None]) != (ends[:, 1] > y[..., None])
        slope = np.where(edges[:, 1] == 0.0, 1.0, edges[:, 1])
        crossings = (spans & (from_x < from_y * edges[:, 0] / slope)).sum(axis=-1)
        return np.where(crossings % 2 == 1, -nearest, nearest)

    return distance


def regular_corners(sides: int, turn_degrees: float = 0.0, inner: float | None = None) -> np.ndarray:
    """Corners of a regular polygon, one at the top, or of a star when `inner` gives the radius of its inner corners."""
    count = sides if inner is None else 2 * sides
    angles = np.deg2rad(turn_degrees - 90.0) + np.arange(count) * 2.0 * np.pi / count
    radii = np.ones(count)
    if inner is not None:
        radii[1::2] = inner
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The unit circle."""
    return np.hypot(x, y) - 1.0


def ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A ring from radius 0.56 to 1."""
    return np.abs(np.hypot(x, y) - 0.78) - 0.22


def crescent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A moon, open to the right: a unit circle without another one."""
    return np.maximum(circle(x - 0.25, y), 0.86 - np.hypot(x - 0.75, y))


def _oval() -> Distance:
    angles = np.linspace(0.0, 2.0 * np.pi, 64, endpoint=False)
    return polygon(np.stack([np.cos(angles), 0.6 * np.sin(angles)], axis=1))


def heart_corners() -> np.ndarray:
    """Corners of a heart.

    Source: the curve x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, scaled to the unit box.
    """
    t = np.linspace(0.0, 2.0 * np.pi, 64, endpoint=False)
    x = 16.0 * np.sin(t) ** 3
    y = -(13.0 * np.cos(t) - 5.0 * np.cos(2 * t) - 2.0 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y - (y.max() + y.min()) / 2.0], axis=1) / 16.0 * 0.98


def cross_corners(arm: float = 0.34) -> np.ndarray:
    """Corners of a cross whose arms are `2 * arm` wide."""
    one = [(arm, -1.0), (arm, -arm), (1.0, -arm)]
    corners = (
        [(x, y) for x, y in one] + [(-y, x) for x, y in one] + [(-x, -y) for x, y in one] + [(y, -x) for x, y in one]
    )
    return np.array(corners)


SHAPES: dict[str, Distance] = {
    "circle": circle,
    "square": polygon(np.array([(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)])),
    "triangle": polygon(np.array([(0.0, -0.9), (1.0, 0.84), (-1.0, 0.84)])),
    "star": polygon(regular_corners(5, inner=0.45)),
    "heart": polygon(heart_corners()),
    "cross": polygon(cross_corners()),
    "ring": ring,
    "diamond": polygon(np.array([(0.0, -1.0), (0.66, 0.0), (0.0, 1.0), (-0.66, 0.0)])),
    "pentagon": polygon(regular_corners(5)),
    "hexagon": polygon(regular_corners(6, turn_degrees=30.0)),
    "crescent": crescent,
    "oval": _oval(),
}


def coverage(shape: str, center: tuple[float, float], radius: float, size: tuple[int, int]) -> np.ndarray:
    """How much of each pixel a shape covers, from its signed distance at the pixel's middle.

    Args:
        shape: A key of `SHAPES`.
        center: Column and row of the shape's centre in pixels; pixel (0, 0) spans 0 to 1.
        radius: Pixels.
        size: Height and width of the picture.

    Returns:
        float64 `(height, width)`, 0 to 1.
    """
    x = (np.arange(size[1]) + 0.5 - center[0])[None, :] / radius
    y = (np.arange(size[0]) + 0.5 - center[1])[:, None] / radius
    distance = SHAPES[shape](*np.broadcast_arrays(x, y)) * radius
    return np.clip(0.5 - distance, 0.0, 1.0)


def colored(opacity: np.ndarray, color: str) -> np.ndarray:
    """Opacity 0 to 1 in one colour: uint8 `(height, width, 4)`."""
    pixels = np.empty((*opacity.shape, 4), dtype=np.uint8)
    pixels[..., :3] = COLORS[color]
    pixels[..., 3] = np.rint(255.0 * opacity)
    return pixels


@lru_cache(maxsize=2048)
def tile(shape: str, color: str, side: int) -> np.ndarray:
    """A shape that fills a square: uint8 `(side, side, 4)`, read-only."""
    pixels = colored(coverage(shape, (side / 2, side / 2), side / 2 - 0.5, (side, side)), color)
    pixels.setflags(write=False)
    return pixels
