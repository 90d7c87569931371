"""Classes as colours. Source: arXiv:2212.02499, section 3.1, and the authors' `gen_color_ade20k_sem.py`."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache

import numpy as np


class ColorDistance(Enum):
    """How far a painted colour is from a class's: the sum over channels of absolute differences, or of squares."""

    ABSOLUTE = "absolute"
    SQUARED = "squared"


@lru_cache(maxsize=8)
def class_colors(count: int) -> np.ndarray:
    """A colour for each class: the digits of its number, each channel in as many even steps as the classes need.

    Args:
        count: Classes, at least 1. 150 have six levels a channel, 42 apart.

    Returns:
        uint8 `(count, 3)`, read-only; black is no class's colour.
    """
    levels = 1 + max(level for level in range(1, count + 1) if level**3 <= count)
    step = 256 // levels
    numbers = np.arange(count)
    digits = np.stack([numbers // levels**2, numbers // levels % levels, numbers % levels], axis=1)
    colors = (255 - step * digits).astype(np.uint8)
    colors.setflags(write=False)
    return colors


def class_step(count: int) -> int:
    """Least difference of two classes' colours in a channel; noise of less than half of it changes no class."""
    levels = 1 + max(level for level in range(1, count + 1) if level**3 <= count)
    return 256 // levels


def paint_classes(classes: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Classes as a picture.

    Args:
        classes: int `(height, width)`: numbers of classes, -1 where there is none.
        colors: uint8 `(count, 3)`, one a class.

    Returns:
        uint8 `(height, width, 3)`; black where there is no class.
    """
    table = np.concatenate([colors, np.zeros((1, 3), dtype=np.uint8)])
    return table[classes]


def class_distances(picture: np.ndarray, colors: np.ndarray, distance: ColorDistance) -> np.ndarray:
    """How far each pixel is from each class's colour: float32 `(height, width, count)`.

    Args:
        picture: `(height, width, 3)`, 0 to 255.
        colors: uint8 `(count, 3)`.
        distance: Which distance.
    """
    total = np.zeros((*picture.shape[:2], len(colors)), dtype=np.float32)
    for channel in range(3):
        gap = picture[..., channel, None].astype(np.float32) - colors[:, channel].astype(np.float32)
        total += np.abs(gap) if distance is ColorDistance.ABSOLUTE else gap * gap
    return total


def read_classes(
    picture: np.ndarray, colors: np.ndarray, distance: ColorDistance = ColorDistance.ABSOLUTE
) -> np.ndarray:
    """The class of each pixel: the one of the nearest colour, int64 `(height, width)`; black is not read.

    Args:
        picture: `(height, width, 3)`, 0 to 255.
        colors: uint8 `(count, 3)`.
        distance: Which distance; the authors report both.
    """
    return class_distances(picture, colors, distance).argmin(axis=-1)
