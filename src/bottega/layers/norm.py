"""Normalisations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RmsNorm(nn.Module):
    """Division by the root mean square of the channels, then one gain a channel; the mean is taken in float32.

    Args:
        width: Channels.
        eps: What is added to the mean square.

    Source: arXiv:1910.07467, equation 4.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """`(..., width)` to the same shape and type."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
