"""Stochastic depth: while training, a residual branch is left out for some samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Leaves out what a residual branch adds, for each sample by chance; what is kept is scaled to the same mean.

    Args:
        rate: Share of samples that go without the branch, 0 to below 1.

    Source: arXiv:1603.09382, section 3; per sample as in arXiv:2104.01136's and later vision transformers.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"rate is {rate}, but it must be at least 0 and below 1")
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """`(batch, ...)` to the same shape; as it is outside of training."""
        if not self.training or self.rate == 0.0:
            return branch
        kept = 1.0 - self.rate
        chance = torch.rand(len(branch), *(1,) * (branch.ndim - 1), device=branch.device)
        return branch * (chance < kept).to(branch.dtype) / kept

    def extra_repr(self) -> str:
        """The rate, for printing."""
        return f"rate={self.rate:g}"
