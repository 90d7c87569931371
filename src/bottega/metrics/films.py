"""How well masks follow things through a film: region similarity J and contour accuracy F.

Source: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016,
section 5.
"""

from __future__ import annotations

import math

import numpy as np

TOLERANCE = 0.008
"""How far contours may lie apart, in diagonals of the picture; rounded up to whole pixels."""


def region_similarity(found: np.ndarray, true: np.ndarray) -> float:
    """J: intersection over union of two masks, bool `(height, width)`; 1 where both are empty."""
    union = (found | true).sum()
    return float((found & true).sum() / union) if union else 1.0


def contour_accuracy(found: np.ndarray, true: np.ndarray, tolerance: float = TOLERANCE) -> float:
    """F: the harmonic mean of precision and recall of contours, which may lie a little apart.

    Args:
        found: bool `(height, width)`.
        true: Alike.
        tolerance: In diagonals of the picture, rounded up to whole pixels.

    Returns:
        0 to 1; 1 where neither has a contour.
    """
    from scipy.ndimage import distance_transform_edt  # noqa: PLC0415 - start-up time

    ours, theirs = contour(found), contour(true)
    if not ours.any() or not theirs.any():
        return float(ours.any() == theirs.any())
    near = math.ceil(tolerance * math.hypot(*found.shape))
    precision = float((np.asarray(distance_transform_edt(~theirs))[ours] <= near).mean())
    recall = float((np.asarray(distance_transform_edt(~ours))[theirs] <= near).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def contour(mask: np.ndarray) -> np.ndarray:
    """A mask's contour, bool `(height, width)`: pixels unlike the one on their right, below, or right below."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    here = padded[:-1, :-1]
    return (here != padded[:-1, 1:]) | (here != padded[1:, :-1]) | (here != padded[1:, 1:])
