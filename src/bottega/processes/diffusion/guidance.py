"""Guidance: values that turn one `Denoiser` into another.

The convention everywhere: x0 = x0_uncond + scale * (x0_cond - x0_uncond). Scale 1 is no guidance, 0 ignores the
condition, above 1 exaggerates it. (Papers that write (1 + w) cond - w uncond mean scale = 1 + w.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.paths import Path
from bottega.processes.diffusion.predictions import Denoiser, Time


class Guidance(Protocol):
    """A function of denoisers."""

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """The guided denoiser."""
        ...


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierFree:
    """Classifier-free guidance. Source: arXiv:2207.12598.

    Guiding x0 equals guiding noise, v or velocity: all are linear in x0 with the same state.

    Args:
        scale: Strength; 1 is none (the denoiser is then called once).
        null_cond: The condition that says nothing: like the condition, or with batch size 1. None when the network
            takes None for it, which needs `batched=False`.
        batched: Both halves in one call of the batch [unconditional, conditional]. A condition is a tensor, or a
            tuple, list or mapping of conditions. False calls twice: for conditions of unequal shapes, or little memory.
    """

    scale: float
    null_cond: Any
    batched: bool = True

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise RequestError.of("guidance scale", self.scale, "a finite number", "1 is no guidance")

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """The guided denoiser."""
        if self.scale == 1.0:
            return denoiser

        def guided(x_t: Tensor, t: Time, cond: Any = None) -> Tensor:
            if self.batched:
                count = x_t.shape[0]
                both = join_conditions(self.null_cond, cond, count)
                uncond, conditional = denoiser(torch.cat([x_t, x_t]), twice(t), both).split(count)
            else:
                uncond = denoiser(x_t, t, repeat_rows(self.null_cond, x_t.shape[0]))
                conditional = denoiser(x_t, t, cond)
            return torch.lerp(uncond, conditional, self.scale)

        return guided


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class IntervalGuidance:
    """Another guidance, inside an interval of times only; outside, the plain denoiser. Source: arXiv:2404.07724.

    Args:
        guidance: What to apply inside.
        low: First guided time, in the path's unit.
        high: Last guided time.
    """

    guidance: Guidance
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise RequestError.of("low, high", (self.low, self.high), "low <= high")

    @classmethod
    def of_sigma(cls, guidance: Guidance, low: float, high: float, path: Path) -> IntervalGuidance:
        """The interval given in noise over signal, sigma / alpha, as in the paper."""
        if not 0 < low <= high:
            raise RequestError.of("low, high", (low, high), "0 < low <= high")
        bounds = [path.time_of_log_snr(-2.0 * math.log(level)) for level in (low, high)]
        return cls(guidance=guidance, low=bounds[0], high=bounds[1])

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """The guided denoiser."""
        guided = self.guidance(denoiser)

        def inside_only(x_t: Tensor, t: Time, cond: Any = None) -> Tensor:
            if not isinstance(t, Tensor):
                return guided(x_t, t, cond) if self.low <= t <= self.high else denoiser(x_t, t, cond)
            inside = ((t >= self.low) & (t <= self.high)).reshape(-1, *[1] * (x_t.ndim - 1))
            return torch.where(inside, guided(x_t, t, cond), denoiser(x_t, t, cond))

        return inside_only


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Clipped:
    """Keeps x0 between two values, as DDPM does with pixels in [-1, 1].

    Args:
        low: Smallest value.
        high: Largest value.
    """

    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise RequestError.of("low, high", (self.low, self.high), "low < high")

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """The clipped denoiser."""

        def clipped(x_t: Tensor, t: Time, cond: Any = None) -> Tensor:
            return denoiser(x_t, t, cond).clamp(self.low, self.high)

        return clipped


def twice(t: Time) -> Time:
    """The time of a batch that is joined with itself."""
    return torch.cat([t, t]) if isinstance(t, Tensor) else t


def repeat_rows(cond: Any, count: int) -> Any:
    """A condition of one row as one of `count` rows; anything else, None among it, as it is."""
    if isinstance(cond, Tensor):
        return cond.expand(count, *cond.shape[1:]) if cond.ndim and cond.shape[0] == 1 else cond
    if isinstance(cond, Mapping):
        return {name: repeat_rows(part, count) for name, part in cond.items()}
    if isinstance(cond, tuple | list):
        return tuple(repeat_rows(part, count) for part in cond)
    return cond


def join_conditions(null: Any, cond: Any, count: int) -> Any:
    """The two conditions as one of batch size 2 * count."""
    if isinstance(cond, Tensor) and isinstance(null, Tensor):
        null = repeat_rows(null, count)
        if null.shape != cond.shape:
            fix = "give a null condition of the same shape, or batched=False"
            raise RequestError.of("null_cond's shape", tuple(null.shape), f"{tuple(cond.shape)}", fix)
        return torch.cat([null.to(cond), cond])
    if isinstance(cond, Mapping) and isinstance(null, Mapping) and cond.keys() == null.keys():
        return {name: join_conditions(null[name], part, count) for name, part in cond.items()}
    if isinstance(cond, tuple | list) and isinstance(null, tuple | list) and len(cond) == len(null):
        return tuple(join_conditions(n, c, count) for n, c in zip(null, cond, strict=True))
    if cond is None and null is None:
        return None
    fix = "give both the same structure, or batched=False"
    raise RequestError.of("null_cond", type(null).__name__, f"like the condition, a {type(cond).__name__}", fix)
