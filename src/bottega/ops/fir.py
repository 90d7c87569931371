"""Separable low-pass filters of pictures and feature maps, with a change of side by two.

Everything here is differentiable twice, and keeps channels-last memory as it is.

Source: "upfirdn2d" of arXiv:1912.04958, section 2 of its supplement; filters as in arXiv:1904.11486.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Padding = tuple[int, int, int, int]
"""Rows of zeros (negative: rows cut off) to the left, right, above and below."""

BINOMIAL = (1.0, 3.0, 3.0, 1.0)
"""The filter of StyleGAN2, of NCSN++ and of many others."""


def low_pass(x: Tensor, padding: Padding, *, stride: int = 1, gain: float = 1.0) -> Tensor:
    """A feature map under the filter (1, 3, 3, 1) / 8 in both directions.

    Args:
        x: `(batch, channels, height, width)`.
        padding: Zeros around it.
        stride: Keeps each n-th row and column.
        gain: Factor of the result.

    Returns:
        `(batch, channels, (height + above + below - 3) / stride, ...)`, rounded up.
    """
    channels = x.shape[1]
    line = torch.tensor(BINOMIAL, dtype=x.dtype, device=x.device) / sum(BINOMIAL)
    kernel = (gain * line[:, None] * line).expand(channels, 1, 4, 4)
    left, right, above, below = padding
    if left == right and above == below and left >= 0 and above >= 0:
        return F.conv2d(x, kernel, stride=stride, padding=(above, left), groups=channels)
    return F.conv2d(F.pad(x, padding), kernel, stride=stride, groups=channels)


def double_side(x: Tensor) -> Tensor:
    """A picture at twice its side, under the filter (1, 3, 3, 1); outside it is zero.

    Inside, that filter is bilinear interpolation, which has a fast kernel of its own.
    """
    return F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2.0, mode="bilinear")[..., 2:-2, 2:-2]


def halve_side(x: Tensor) -> Tensor:
    """A picture at half its side, under the filter (1, 3, 3, 1); outside it is zero."""
    return low_pass(x, (1, 1, 1, 1), stride=2)


def filter_lines(x: Tensor, taps: Tensor, padding: Padding) -> Tensor:
    """A picture under one filter along its rows, then along its columns (a convolution: the filter is mirrored).

    Args:
        x: `(batch, channels, height, width)`.
        taps: `(n,)`, or one filter a picture `(batch, n)`.
        padding: Zeros around it.

    Returns:
        `(batch, channels, height + above + below - n + 1, ...)`.
    """
    batch, channels = x.shape[:2]
    lines = taps.flip(-1).to(x).expand(batch, -1)
    kernels = lines.repeat_interleave(channels, 0)[:, None]
    flat = F.pad(x, padding).reshape(1, batch * channels, x.shape[2] + sum(padding[2:]), x.shape[3] + sum(padding[:2]))
    along = F.conv2d(flat, kernels[:, :, None, :], groups=batch * channels)
    both = F.conv2d(along, kernels[:, :, :, None], groups=batch * channels)
    return both.reshape(batch, channels, *both.shape[2:])


def spread(x: Tensor) -> Tensor:
    """A picture at twice its side, with a zero after every pixel of a row and after every row."""
    batch, channels, height, width = x.shape
    wide = F.pad(x[:, :, :, None, :, None], (0, 1, 0, 0, 0, 1))
    return wide.reshape(batch, channels, 2 * height, 2 * width)
