"""Losses on what a mask hides."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_cosine(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The mean cosine between predicted and true features at the masked patches alone.

    EVA minimises its negative: plain regression of a teacher's features, without a tokenizer.

    Args:
        predicted: `(batch, patches, channels)`.
        target: The teacher's features of the whole picture, of the same shape; no gradient reaches them.
        mask: bool `(batch, patches)`, True where the student did not see.

    Returns:
        A number in [-1, 1]; 0 where nothing is masked.

    Source: arXiv:2211.07636, section 2.2.
    """
    cosine = F.cosine_similarity(predicted.float(), target.detach().float(), dim=-1)
    weight = mask.to(cosine.dtype)
    return (cosine * weight).sum() / weight.sum().clamp(min=1)


def masked_squares(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The mean squared error at the masked patches alone; the loss of regressing pixels.

    Args:
        predicted: `(batch, patches, channels)`.
        target: Of the same shape; no gradient reaches it.
        mask: bool `(batch, patches)`.

    Source: arXiv:2111.06377, section 3.
    """
    error = (predicted.float() - target.detach().float()).square().mean(-1)
    weight = mask.to(error.dtype)
    return (error * weight).sum() / weight.sum().clamp(min=1)


def patch_pixels(picture: Tensor, patch_size: int, eps: float = 1e-6) -> Tensor:
    """The pixels of every patch, moved and scaled to mean 0 and variance 1 within the patch.

    Args:
        picture: `(batch, channels, height, width)`.
        patch_size: Side of a patch in pixels.
        eps: What is added to the variance; an even patch is 0.

    Returns:
        `(batch, patches, channels * patch_size ** 2)`, patches row by row.

    Source: arXiv:2111.06377, section 3, "reconstruction target".
    """
    pixels = F.unfold(picture, patch_size, stride=patch_size).transpose(1, 2)
    return (pixels - pixels.mean(-1, keepdim=True)) / torch.sqrt(pixels.var(-1, keepdim=True) + eps)
