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


class ChannelNorm(nn.Module):
    """Layer normalisation of the channels of a picture, pixel by pixel, with a gain and a bias a channel.

    Args:
        channels: Channels.
        eps: What is added to the variance.

    Source: "LayerNorm2d" of ViTDet, arXiv:2203.16527, section 3.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to the same shape."""
        last = F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, self.eps)
        return last.movedim(-1, 1)
