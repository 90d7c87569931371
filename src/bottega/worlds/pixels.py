"""Pixels: laying pictures with opacity over others, resampling them, and the boxes of masks."""

from __future__ import annotations

import numpy as np
from PIL import Image

from bottega.worlds.sample import Box, Color

WHITE: Color = (255, 255, 255)
SOLID = 128  # a pixel belongs to a thing from this opacity on


def compose(tile: np.ndarray, background: Color | np.ndarray = WHITE) -> np.ndarray:
    """Lays pictures with opacity over a background.

    Args:
        tile: uint8 `(..., height, width, 4)`; colours are not multiplied by opacity.
        background: A colour, or uint8 pictures `(..., height, width, 3)`.

    Returns:
        uint8 `(..., height, width, 3)`, rounded to nearest.
    """
    opacity = tile[..., 3:].astype(np.uint16)
    blend = tile[..., :3] * opacity + np.asarray(background, dtype=np.uint16) * (255 - opacity)
    return ((blend + 127) // 255).astype(np.uint8)


def resize(tile: np.ndarray, size: int) -> np.ndarray:
    """A square picture with opacity at another size, resampled premultiplied: uint8 `(size, size, 4)`."""
    if size == tile.shape[0]:
        return tile
    return np.asarray(Image.fromarray(tile).resize((size, size), Image.Resampling.BICUBIC))


def tight_box(mask: np.ndarray) -> Box:
    """The smallest box around a mask; an empty box at the origin for an empty mask.

    Args:
        mask: bool `(height, width)`.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return Box(left=0, top=0, right=0, bottom=0)
    return Box(left=int(columns[0]), top=int(rows[0]), right=int(columns[-1]) + 1, bottom=int(rows[-1]) + 1)
