"""Positions in time and space as vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoid(t: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Cosines and sines of a time at geometrically spaced frequencies.

    Args:
        t: Times `(batch,)`, in steps (0 to about 1000); fractions are fine.
        width: Even number of channels.
        max_period: Longest period, in steps.

    Returns:
        float32 `(batch, width)`: all cosines, then all sines.

    Source: arXiv:1706.03762, section 3.5, in the order of arXiv:2105.05233.
    """
    if width % 2:
        raise ValueError(f"a sinusoid needs an even width, not {width}")
    half = width // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t.float()[:, None] * frequencies[None]
    return torch.cat((angles.cos(), angles.sin()), dim=-1)
