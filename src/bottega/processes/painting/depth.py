"""Depth as grey. Source: arXiv:2212.02499, section 3.1."""

from __future__ import annotations

import numpy as np


def paint_depth(depth: np.ndarray, farthest: float = 10.0) -> np.ndarray:
    """Depth as a picture: 0 m is black and `farthest` is white.

    Args:
        depth: float `(height, width)` in metres; 0 where it is unknown.
        farthest: Metres; what is beyond is white, too.

    Returns:
        uint8 `(height, width, 3)`, all channels alike.
    """
    grey = np.rint(np.clip(depth / farthest, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def read_depth(picture: np.ndarray, farthest: float = 10.0) -> np.ndarray:
    """The depth in a painting: the mean of the channels, float32 `(height, width)` in metres.

    Args:
        picture: `(height, width, 3)`, 0 to 255; fractions count.
        farthest: As it was painted.
    """
    return np.clip(picture.astype(np.float32).mean(axis=-1) / 255, 0, 1) * np.float32(farthest)
