"""Convolutional blocks of latent autoencoders and U-Nets."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bottega.layers.attention import attend


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions with group normalisation and SiLU before each, and a shortcut around both.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output; where they differ the shortcut is a 1x1 convolution.
        groups: Groups of the normalisation; must divide both.
        eps: The normalisation's epsilon.
    """

    def __init__(self, channels_in: int, channels_out: int, *, groups: int = 32, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels_in, eps=eps)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, channels_out, eps=eps)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels_in, height, width)` to `(batch, channels_out, height, width)`."""
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        return self.shortcut(x) + y


class PixelAttention(nn.Module):
    """One-head self-attention over all positions of a feature map, with a shortcut.

    Args:
        channels: Channels of the map.
        groups: Groups of the normalisation before it.
        eps: The normalisation's epsilon.
    """

    def __init__(self, channels: int, *, groups: int = 32, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=eps)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to the same shape."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # b (h w) c
        q, k, v = (part.unsqueeze(1) for part in self.qkv(tokens).chunk(3, dim=-1))
        out = self.proj(attend(q, k, v).squeeze(1))
        return x + out.transpose(1, 2).unflatten(2, x.shape[-2:])


class Downsample(nn.Module):
    """Halves height and width by a strided 3x3 convolution, padded on the right and below only.

    Source: the Stable Diffusion autoencoder (arXiv:2112.10752).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to `(batch, channels, height / 2, width / 2)`."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles height and width: nearest neighbour, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to `(batch, channels, 2 * height, 2 * width)`."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
