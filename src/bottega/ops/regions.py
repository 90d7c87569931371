"""Connected regions of masks, and masks without the small ones."""

from __future__ import annotations

import numpy as np


def label_regions(mask: np.ndarray, *, corners: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the regions of a mask whose pixels touch.

    Args:
        mask: bool `(height, width)`.
        corners: Whether pixels touch that share a corner only.

    Returns:
        int64 `(height, width)`: 0 outside, 1 and up inside, row by row by first pixel; and the regions' pixel counts.
    """
    from scipy import ndimage  # noqa: PLC0415 - importing it takes longer than importing the package

    labels = np.zeros(mask.shape, dtype=np.int64)
    ndimage.label(mask, structure=ndimage.generate_binary_structure(2, 1 + corners), output=labels)
    return labels, np.bincount(labels.reshape(-1))[1:]


def grown(labels: np.ndarray, inside: np.ndarray, reach: float) -> np.ndarray:
    """Labels that reach further: each pixel without one takes that of the nearest pixel with one.

    Args:
        labels: int `(height, width)`, 0 for none.
        inside: bool `(height, width)`: where labels may lie.
        reach: How far labels grow at most, in pixels.
    """
    from scipy import ndimage  # noqa: PLC0415 - importing it takes longer than importing the package

    places = np.zeros((2, *labels.shape), dtype=np.int32)
    away = np.zeros(labels.shape)
    ndimage.distance_transform_edt(labels == 0, distances=away, indices=places, return_indices=True)
    return np.where((away <= reach) & inside, labels[tuple(places)], 0)


def depths(mask: np.ndarray) -> np.ndarray:
    """How far each pixel of a mask is from the nearest outside it, beyond the picture's edge too; 0 outside."""
    from scipy import ndimage  # noqa: PLC0415 - importing it takes longer than importing the package

    away = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2))
    ndimage.distance_transform_edt(np.pad(mask, 1), distances=away)
    return away[1:-1, 1:-1]


def without_small_holes(mask: np.ndarray, smallest: int) -> np.ndarray:
    """The mask with every region outside it that has fewer than `smallest` pixels filled."""
    labels, sizes = label_regions(~mask)
    return mask | np.isin(labels, np.flatnonzero(sizes < smallest) + 1)


def without_small_islands(mask: np.ndarray, smallest: int) -> np.ndarray:
    """The mask without its regions of fewer than `smallest` pixels; where all are small, the largest stays."""
    labels, sizes = label_regions(mask)
    if not (sizes < smallest).any():
        return mask
    kept = np.flatnonzero(sizes >= smallest)
    return np.isin(labels, (kept if len(kept) else sizes.argmax()) + 1)
