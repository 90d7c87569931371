"""Noise levels for Langevin dynamics, from the data: the rules of NCSNv2 (arXiv:2006.09011).

    levels = ncsnv2_levels(pictures, steps_per_level=5)     # 1: largest distance; 2: ratio; 4: step size; 5: EMA
    levels.sigmas()                                         # from the largest to the smallest

Technique 3 is a way to build a network, score(x, sigma) = network(x) / sigma, and takes no number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bottega.errors import RequestError

EMA_DECAY = 0.999
"""Technique 5: scores come from weights averaged with this decay."""

_ROWS = 512
_GRID, _ROUNDS = 64, 6


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseLevels:
    """A falling geometric sequence of noise levels, and how far Langevin dynamics steps at each.

    Args:
        first: The largest standard deviation, in the data's units.
        last: The smallest, above 0.
        count: How many, at least 1 (and then `first` alone counts).
        step: Step size at the last level, above 0; at level i it is step (sigma_i / last)^2.
        steps_per_level: Langevin steps at each level, at least 1.
        ema_decay: Decay of the averaged weights that a network for these levels is used with.
    """

    first: float
    last: float
    count: int
    step: float
    steps_per_level: int
    ema_decay: float = EMA_DECAY

    def __post_init__(self) -> None:
        if not 0 < self.last <= self.first < math.inf:
            raise RequestError.of("first, last", (self.first, self.last), "0 < last <= first")
        if self.count < 1 or (self.count == 1 and self.first != self.last):
            raise RequestError.of("count", self.count, "at least 1, and 1 only where first and last are equal")
        if not 0 < self.step < math.inf:
            raise RequestError.of("step", self.step, "above 0 and finite")
        if self.steps_per_level < 1:
            raise RequestError.of("steps_per_level", self.steps_per_level, "at least 1")

    @property
    def ratio(self) -> float:
        """gamma, each level over the next."""
        return (self.first / self.last) ** (1.0 / (self.count - 1)) if self.count > 1 else 1.0

    def sigmas(self) -> tuple[float, ...]:
        """The levels, from the largest to the smallest."""
        return geometric_levels(self.first, self.last, self.count)


def ncsnv2_levels(data: Tensor, *, steps_per_level: int, last: float = 0.01) -> NoiseLevels:
    """All of NCSNv2's choices for a data set.

    Args:
        data: Samples `(n, ...)`, at least two; as many as one likes to compare pairwise.
        steps_per_level: T, the Langevin steps at each level that one can pay for.
        last: The smallest level, too small to be seen.
    """
    first, dim = largest_distance(data), data[0].numel()
    count = level_count(first, last, level_ratio(dim))
    ratio = (first / last) ** (1.0 / (count - 1))
    step = langevin_step_size(ratio, last, steps_per_level)
    return NoiseLevels(first=first, last=last, count=count, step=step, steps_per_level=steps_per_level)


def geometric_levels(first: float, last: float, count: int) -> tuple[float, ...]:
    """`count` levels from `first` to `last`, each in the same ratio to the next."""
    if count == 1:
        return (first,)
    return tuple(first * (last / first) ** (i / (count - 1)) for i in range(count))


def largest_distance(data: Tensor) -> float:
    """Technique 1: the first level, the largest Euclidean distance between two samples of `(n, ...)`."""
    flat = data.flatten(1).to(torch.float64)
    if len(flat) < 2:
        raise RequestError.of("the data", len(flat), "at least two samples")
    centred = flat - flat.mean(0)
    return max(float(torch.cdist(part, centred).max()) for part in centred.split(_ROWS))


def level_overlap(ratio: float, dim: int) -> float:
    """C of technique 2: the mass that noise of one level has where that of the next level, gamma smaller, lives.

    Phi(sqrt(2 D) (gamma - 1) + 3 gamma) - Phi(sqrt(2 D) (gamma - 1) - 3 gamma).

    Args:
        ratio: gamma, at least 1.
        dim: D, numbers in a sample.
    """
    shift = math.sqrt(2.0 * dim) * (ratio - 1.0)
    return _normal_below(shift + 3.0 * ratio) - _normal_below(shift - 3.0 * ratio)


def level_ratio(dim: int, overlap: float = 0.5) -> float:
    """Technique 2: the ratio gamma between levels at which they overlap by about a half.

    Args:
        dim: Numbers in a sample, at least 1.
        overlap: The wanted `level_overlap`, between 0 and 1.

    Raises:
        RequestError: In so few dimensions any two levels overlap by more than this.
    """
    if not 0 < overlap < 1:
        raise RequestError.of("overlap", overlap, "between 0 and 1")
    widest = next((high for high in (2.0, 4.0, 16.0, 256.0) if level_overlap(high, dim) < overlap), None)
    if widest is None:
        fix = "choose the ratio yourself; 2 works in the plane"
        raise RequestError.of("the dimension", dim, "large enough that levels can miss each other", fix)
    low, high = 1.0, widest
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if level_overlap(middle, dim) > overlap else (low, middle)
    return 0.5 * (low + high)


def level_count(first: float, last: float, ratio: float) -> int:
    """How many levels lead from `first` to `last` when each is about `ratio` times the next; at least 2."""
    return max(2, 1 + round(math.log(first / last) / math.log(ratio)))


def langevin_variance_ratio(step: float, ratio: float, last: float, steps_per_level: int) -> float:
    """Technique 4's measure: variance that Langevin dynamics leaves at a level, over the level's own; ideally 1.

    (1 - e)^2T (gamma^2 - c) + c, where e = step / last^2 and c = 2 e / (1 - (1 - e)^2). It is the same at all levels.

    Args:
        step: Step size at the last level.
        ratio: gamma.
        last: The last level.
        steps_per_level: T.

    Source: arXiv:2006.09011, proposition 3.
    """
    relative = step / last**2
    settled = 2.0 / (2.0 - relative)
    return (1.0 - relative) ** (2 * steps_per_level) * (ratio**2 - settled) + settled


def langevin_step_size(ratio: float, last: float, steps_per_level: int) -> float:
    """Technique 4: the step size at the last level that brings `langevin_variance_ratio` nearest to 1."""

    def off(relative: float) -> float:
        return abs(langevin_variance_ratio(relative * last**2, ratio, last, steps_per_level) - 1.0)

    return last**2 * _smallest(off, 1e-6, 1.0)


def _smallest(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one number is smallest between two bounds: a search on finer and finer grids."""
    for _ in range(_ROUNDS):
        points = [low + (high - low) * i / _GRID for i in range(_GRID + 1)]
        best = min(range(_GRID + 1), key=lambda i: function(points[i]))
        low, high = points[max(best - 1, 0)], points[min(best + 1, _GRID)]
    return 0.5 * (low + high)


def _normal_below(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))
