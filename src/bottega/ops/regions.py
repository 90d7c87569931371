"""Connected regions of masks, and masks without the small ones."""

from __future__ import annotations

import numpy as np


def label_regions(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the regions of a mask whose pixels touch, also at corners.

    Args:
        mask: bool `(height, width)`.

    Returns:
        int64 `(height, width)`: 0 outside, 1 and up inside, row by row by first pixel; and the regions' pixel counts.
    """
    rows, starts, ends = _runs(mask)
    labels = _joined(len(rows), *_touching(rows, starts, ends, mask.shape[1]))
    _, numbers = np.unique(labels, return_inverse=True)
    lengths = ends - starts
    sizes = np.bincount(numbers, weights=lengths, minlength=int(numbers.max(initial=-1)) + 1).astype(np.int64)
    out = np.zeros(mask.shape, dtype=np.int64)
    out[mask] = np.repeat(numbers + 1, lengths)
    return out, sizes


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


def _runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, first columns and columns behind the last of all horizontal runs, row by row."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), dtype=np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    return rows, starts, np.nonzero(steps == -1)[1]


def _touching(rows: np.ndarray, starts: np.ndarray, ends: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs of neighbouring rows that touch: the lower ones' numbers, and the upper ones'."""
    stride = width + 2
    first = np.searchsorted(rows * stride + ends, (rows - 1) * stride + starts)  # a corner is enough
    last = np.searchsorted(rows * stride + starts, (rows - 1) * stride + ends, side="right")
    counts = np.maximum(last - first, 0)
    lower = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return lower, np.repeat(first, counts) + within


def _joined(count: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """For each of `count` nodes the smallest number of those that edges join it with."""
    parent = np.arange(count)
    while True:
        low = np.minimum(parent[left], parent[right])
        before = parent.copy()
        for side in (left, right):
            np.minimum.at(parent, before[side], low)  # hook the roots
            np.minimum.at(parent, side, low)
        parent = parent[parent]
        if np.array_equal(parent, before):
            return parent
