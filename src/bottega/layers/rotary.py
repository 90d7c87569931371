"""Rotary positions: a query or key turned by an angle that grows with its position, so that scores see differences.

Source: arXiv:2104.09864, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor


class RotaryLayout(Enum):
    """Which channels of a head turn together."""

    HALVES = "halves"
    """Channel i and channel i + head_dim / 2, as transformers stores its weights."""
    PAIRS = "pairs"
    """Channels 2 i and 2 i + 1, as the paper writes it and Meta stores its weights."""


@dataclass(frozen=True, slots=True)
class Rotary:
    """The angles of a head.

    Args:
        head_dim: Channels of a head, even.
        base: The slowest wave has about `2 pi base` positions.
        layout: Which channels turn together.
    """

    head_dim: int
    base: float = 10_000.0
    layout: RotaryLayout = RotaryLayout.HALVES

    def turns(self, positions: Tensor, dtype: torch.dtype = torch.float32) -> Turns:
        """The turns at integer positions `(..., tokens)`, ready for `rotate`."""
        exponents = torch.arange(0, self.head_dim, 2, dtype=torch.float32, device=positions.device) / self.head_dim
        angles = positions.float()[..., None] * self.base**-exponents
        return Turns(angles.cos().to(dtype), angles.sin().to(dtype), self.layout)


@dataclass(frozen=True, slots=True)
class Turns:
    """Cosines and sines `(..., tokens, head_dim / 2)`."""

    cos: Tensor
    sin: Tensor
    layout: RotaryLayout

    def rotate(self, x: Tensor) -> Tensor:
        """Turns `(..., tokens, head_dim)`; leading dimensions must broadcast."""
        if self.layout is RotaryLayout.HALVES:
            a, b = x.chunk(2, dim=-1)
            return torch.cat((a * self.cos - b * self.sin, b * self.cos + a * self.sin), dim=-1)
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * self.cos - b * self.sin, b * self.cos + a * self.sin), dim=-1).flatten(-2)
