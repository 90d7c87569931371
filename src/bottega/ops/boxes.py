"""Boxes: areas, overlaps and non-maximum suppression."""

from __future__ import annotations

import torch
from torch import Tensor


def box_areas(boxes: Tensor) -> Tensor:
    """Areas of boxes `(..., 4)` as left, top, right, bottom: `(...)`."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def box_overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every box with every other.

    Args:
        first: `(n, 4)` as left, top, right, bottom.
        second: `(m, 4)`.

    Returns:
        `(n, m)` in [0, 1]; 0 where both boxes are empty.
    """
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = box_areas(first)[:, None] + box_areas(second) - shared
    return torch.where(union > 0, shared / union.clamp(min=torch.finfo(union.dtype).tiny), 0.0)


def non_maximum_suppression(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Keeps the best of boxes that overlap: from the highest score down, each box removes those that it overlaps.

    Args:
        boxes: `(n, 4)` floats as left, top, right, bottom.
        scores: `(n,)`; of equal scores the earlier box comes first.
        threshold: Boxes with a larger intersection over union than this are duplicates.

    Returns:
        Indices `(kept,)`, best first.
    """
    order = scores.argsort(descending=True, stable=True)
    ranked = boxes[order]
    alive = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    for rank in range(len(order)):
        if alive[rank]:
            alive[rank + 1 :] &= box_overlaps(ranked[rank : rank + 1], ranked[rank + 1 :])[0] <= threshold
    return order[alive]
