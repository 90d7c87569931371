"""Masks: their boxes, their overlap, and how firmly a network believes in them."""

from __future__ import annotations

import torch
from torch import Tensor


def boxes_of_masks(masks: Tensor) -> Tensor:
    """The first and last column and row of each mask.

    Args:
        masks: bool `(..., height, width)`.

    Returns:
        int64 `(..., 4)`: left, top, right, bottom, the last two inclusive; zeros for an empty mask.
    """
    sides = []
    for axis in (-2, -1):  # columns, then rows
        seen = masks.any(dim=axis)
        length = seen.shape[-1]
        places = torch.arange(length, device=masks.device)
        first = torch.where(seen, places, length).amin(-1)
        last = torch.where(seen, places, -1).amax(-1)
        sides.append((first, last))
    (left, right), (top, bottom) = sides
    boxes = torch.stack((left, top, right, bottom), dim=-1)
    return boxes * (right >= left)[..., None]


def mask_overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of masks, pair by pair.

    Args:
        first: bool `(..., height, width)`.
        second: bool, of a shape that broadcasts with it.

    Returns:
        float32 `(...)` in [0, 1]; 1 where both are empty.
    """
    shared = (first & second).sum((-2, -1))
    union = (first | second).sum((-2, -1))
    return torch.where(union > 0, shared / union.clamp(min=1), 1.0)


def stability(logits: Tensor, *, threshold: float = 0.0, offset: float = 1.0) -> Tensor:
    """How little a mask changes with the threshold: the overlap of the masks at `threshold` plus and minus `offset`.

    Args:
        logits: `(..., height, width)`.
        threshold: The logit from which on a pixel belongs to the mask.
        offset: How far the threshold is moved.

    Returns:
        float32 `(...)` in [0, 1]; 0 for a mask that is empty at both.

    Source: Segment Anything, arXiv:2304.02643, appendix B, "stable masks".
    """
    inner = (logits > threshold + offset).sum((-2, -1))
    outer = (logits > threshold - offset).sum((-2, -1))
    return inner / outer.clamp(min=1)
