"""Matrix non-maximum suppression: scores of masks that better masks cover fade, all at once."""

from __future__ import annotations

import torch
from torch import Tensor


def matrix_nms(masks: Tensor, scores: Tensor, labels: Tensor | None = None, *, sigma: float = 2.0) -> Tensor:
    """Lowers the scores of masks by their overlap with better masks of the same label, with a Gaussian kernel.

    A mask's score is multiplied by the least of exp(-sigma (overlap^2 - r^2)) over the better masks, where r is the
    overlap of that better mask with masks better still: what is likely to be suppressed itself suppresses less.

    Args:
        masks: bool `(masks, height, width)`.
        scores: float `(masks,)`.
        labels: int `(masks,)`; masks of different labels leave each other alone. None: all are alike.
        sigma: How fast scores fall with overlap.

    Returns:
        The new scores, in the order given.

    Source: SOLOv2, arXiv:2003.10152, section 3.3 and its pseudo-code.
    """
    if not len(masks):
        return scores
    order = torch.argsort(scores, descending=True, stable=True)
    flat = masks[order].flatten(1).float()
    shared = flat @ flat.T
    area = flat.sum(1)
    union = area[:, None] + area[None, :] - shared
    overlap = (shared / union.clamp(min=1)).triu(diagonal=1)  # row: the better one
    if labels is not None:
        same = labels[order][:, None] == labels[order][None, :]
        overlap = overlap * same
    covered = overlap.amax(dim=0)[:, None]  # by one better still, for each row
    decay = torch.exp(-sigma * (overlap.square() - covered.square())).amin(dim=0)
    faded = torch.empty_like(scores)
    faded[order] = scores[order] * decay.clamp(max=1)
    return faded
