"""Exact coefficients of one step between two noise levels, with a time of its own for each sample of a batch.

Solvers of `bottega.processes.diffusion` take a whole batch from time to time; training draws a time for each sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor

from bottega.processes.diffusion import Denoiser, Path


class OdeStep(Protocol):
    """One step of a teacher along its probability-flow ODE."""

    def __call__(self, denoiser: Denoiser, x: Tensor, t: Tensor, s: Tensor, path: Path, cond: Any = None) -> Tensor:
        """The state at times `s` of states `x` at times `t`, both `(b,)`, where s is at or before t."""
        ...


def jump_coefficients(t: Tensor, s: Tensor, path: Path) -> tuple[Tensor, Tensor]:
    """(a, b) of the DDIM jump x_s = a x_t + b x0, in double: a = sigma_s / sigma_t, b = alpha_s - a alpha_t.

    Where s equals t they are exactly 1 and 0, also for clean data.

    Args:
        t: Times to start from, `(b,)`.
        s: Times to end at, `(b,)`, each at or before its t.
        path: The noise path.
    """
    sigma = path.sigma(t)
    stays = t == s
    a = torch.where(stays, 1.0, path.sigma(s) / torch.where(sigma == 0, 1.0, sigma))
    return a, torch.where(stays, 0.0, path.alpha(s) - a * path.alpha(t))


def ddim_jump(x: Tensor, x0: Tensor, t: Tensor, s: Tensor, path: Path) -> Tensor:
    """The state at times `s` on the line through the state at `t` and its clean sample. Source: arXiv:2010.02502.

    Args:
        x: States `(b, ...)` at times t.
        x0: Clean samples of the same shape.
        t: `(b,)`.
        s: `(b,)`, at or before t.
        path: The noise path.
    """
    a, b = (rows_like(part, x) for part in jump_coefficients(t, s, path))
    return a * x + b * x0


def implied_x0(x: Tensor, ahead: Tensor, t: Tensor, s: Tensor, path: Path) -> Tensor:
    """The clean sample with which one DDIM jump leads from `x` at `t` to `ahead` at `s`: the inverse of `ddim_jump`.

    (z_s - (sigma_s / sigma_t) z_t) / (alpha_s - (sigma_s / sigma_t) alpha_t). Source: arXiv:2202.00512 appendix G.
    """
    a, b = (rows_like(part, x) for part in jump_coefficients(t, s, path))
    return (ahead - a * x) / b


def rows_like(values: Tensor, x: Tensor) -> Tensor:
    """Numbers `(b,)` shaped to broadcast over `x`, in its type."""
    return values.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


@final
@dataclass(frozen=True, slots=True)
class DdimSteps:
    """DDIM in a number of equal parts of the path's time.

    Args:
        parts: Steps, at least 1; one call of the teacher each.
    """

    parts: int = 1

    def __call__(self, denoiser: Denoiser, x: Tensor, t: Tensor, s: Tensor, path: Path, cond: Any = None) -> Tensor:
        """See `OdeStep`."""
        here = t
        for part in range(1, self.parts + 1):
            there = s if part == self.parts else t + (s - t) * (part / self.parts)
            x = ddim_jump(x, denoiser(x, here, cond), here, there, path)
            here = there
        return x


@final
@dataclass(frozen=True, slots=True)
class HeunSteps:
    """Heun's second-order step in y = x / scale over sigma / scale; consistency models' own choice.

    Two calls of the teacher; a sample that ends in clean data takes Euler's step.

    Source: arXiv:2303.01469 section 4, arXiv:2206.00364 algorithm 1.
    """

    def __call__(self, denoiser: Denoiser, x: Tensor, t: Tensor, s: Tensor, path: Path, cond: Any = None) -> Tensor:
        """See `OdeStep`."""
        x0 = denoiser(x, t, cond)
        ahead = ddim_jump(x, x0, t, s, path)
        level_t, level_s = path.sigma(t) / path.scale(t), path.sigma(s) / path.scale(s)
        ends_clean = level_s == 0
        scale_t, scale_s = rows_like(path.scale(t), x), rows_like(path.scale(s), x)
        slope_t = (x / scale_t - x0) / rows_like(level_t, x)
        safe = rows_like(torch.where(ends_clean, 1.0, level_s), x)
        slope_s = (ahead / scale_s - denoiser(ahead, s, cond)) / safe
        corrected = x / scale_t + rows_like(0.5 * (level_s - level_t), x) * (slope_t + slope_s)
        return torch.where(rows_like(ends_clean, x).bool(), ahead, scale_s * corrected)
