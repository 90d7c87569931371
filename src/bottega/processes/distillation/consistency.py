"""Consistency distillation, whole (CD, LCM) or inside segments (MLCM), and consistency training.

One loss serves all: from a state and from the teacher's state one step further, the student must reach the same point
at the end of their segment. The end is clean data in CD and LCM, which are MLCM with one segment.

Source: Song et al., arXiv:2303.01469; Luo et al., arXiv:2310.04378; Xie et al., arXiv:2406.05768.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion import Denoiser, Path, corrupt
from bottega.processes.distillation.steps import ddim_jump, jump_coefficients, rows_like


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two states of each of some trajectories.

    Args:
        x: States `(b, ...)`.
        t: Their times `(b,)`.
        next_x: The states that the teacher leads to.
        next_t: Their times.
        end: Where each segment ends: at or before next_t; the very tensor `next_t` where the teacher went to the end.
    """

    x: Tensor
    t: Tensor
    next_x: Tensor
    next_t: Tensor
    end: Tensor


class Distance(Protocol):
    """How far two batches are from each other."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """One number for each sample, `(b,)`."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Squared:
    """The mean squared difference."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """See `Distance`."""
        return (a - b).square().flatten(1).mean(1)


@final
@dataclass(frozen=True, slots=True)
class PseudoHuber:
    """The mean of sqrt(d^2 + c^2) - c: a square below c, an absolute value above.

    Args:
        c: Above 0; 0.001 in the published training of LCM.
    """

    c: float = 0.001

    def __post_init__(self) -> None:
        if not self.c > 0:
            raise RequestError.of("c", self.c, "above 0")

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """See `Distance`."""
        return (((a - b).square() + self.c**2).sqrt() - self.c).flatten(1).mean(1)


class Measured(Enum):
    """Where the two ends are compared. The same for segments that end in clean data."""

    STATE = "state"
    """As states at the end of the segment: the published loss."""
    DATA = "data"
    """As the clean samples that lead there, so that noisy segments, which move a state little, count as much."""


def segment_end(function: Denoiser, x: Tensor, t: Tensor, end: Tensor, path: Path, cond: Any = None) -> Tensor:
    """Where a consistency function says that the segment of each state ends: DDIM from t to `end` with x0 = f(x, t).

    Exactly f(x, t) where the end is clean, and exactly x where t is the end already.
    """
    return ddim_jump(x, function(x, t, cond), t, end, path)


def consistency_loss(
    student: Denoiser,
    target: Denoiser,
    pair: Pair,
    path: Path,
    cond: Any = None,
    *,
    distance: Distance = Squared(),  # noqa: B008 - frozen
    measured: Measured = Measured.STATE,
) -> Tensor:
    """The distance of both states' segment ends, `(b,)`; the further one is taken as it is (no gradient).

    Args:
        student: What learns.
        target: Its average, or itself.
        pair: States on the same trajectories.
        path: The noise path.
        cond: Handed to both.
        distance: How ends are compared.
        measured: Where.
    """
    online = segment_end(student, pair.x, pair.t, pair.end, path, cond)
    goal = pair.next_x
    if pair.next_t is not pair.end:
        with torch.no_grad():
            goal = segment_end(target, pair.next_x, pair.next_t, pair.end, path, cond)
    if measured is Measured.DATA:
        a, b = (rows_like(part, online) for part in jump_coefficients(pair.t, pair.end, path))
        b = torch.where(b == 0, 1.0, b)  # states at their end are right whatever the student says
        online, goal = (online - a * pair.x) / b, (goal - a * pair.x) / b
    return distance(online, goal)


def consistency_residual(
    function: Denoiser, states: Sequence[Tensor], times: Sequence[float], ends: Sequence[float], path: Path,
    cond: Any = None,
) -> Tensor:  # fmt: skip
    """How inconsistent a function is along given trajectories: 0 where all states of a segment lead to one point.

    Args:
        function: A consistency function.
        states: States at each of the times, `(b, ...)`.
        times: Falling times.
        ends: The end of the segment that each time lies in; the last state of a segment has itself as its end.
        path: The noise path.
        cond: Handed to the function.

    Returns:
        Mean squared distance of what neighbouring states of a segment lead to, `(b,)`.
    """
    totals, count = torch.zeros(len(states[0]), dtype=states[0].dtype, device=states[0].device), 0
    for place in range(len(times) - 1):
        end = ends[place]
        if times[place + 1] < end:
            continue
        t, s, last = (torch.full((len(states[0]),), value, dtype=torch.float64, device=states[0].device)
                      for value in (times[place], times[place + 1], end))  # fmt: skip
        here = segment_end(function, states[place], t, last, path, cond)
        totals = totals + Squared()(here, segment_end(function, states[place + 1], s, last, path, cond))
        count += 1
    return totals / max(count, 1)


def segment_ends(times: Sequence[float], segments: int) -> tuple[float, ...]:
    """For each step from one time to the next, where the segment that it lies in ends.

    Args:
        times: A grid of n steps, n + 1 falling times.
        segments: Number of segments of equally many steps, a divisor of n.
    """
    steps = len(times) - 1
    if segments < 1 or steps % segments:
        raise RequestError.of("segments", segments, f"a divisor of the teacher's {steps} steps")
    size = steps // segments
    return tuple(times[(place // size + 1) * size] for place in range(steps))


def training_pair(x0: Tensor, noise: Tensor, t: Tensor, next_t: Tensor, path: Path) -> Pair:
    """The pair of consistency training, which has no teacher: the same data with the same noise at two levels.

    Source: arXiv:2303.01469 algorithm 3.
    """
    clean = torch.full_like(t, path.t_clean)
    x, next_x = corrupt(x0, t, noise, path), corrupt(x0, next_t, noise, path)
    return Pair(x=x, t=t, next_x=next_x, next_t=next_t, end=clean)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class GrowingSteps:
    """Consistency training's schedules: finer grids and slower averages as training goes on.

    Args:
        first: s0, grid steps at the start.
        last: s1, at the end.
        decay: mu0, the target's decay at the start.

    Source: arXiv:2303.01469 appendix C.
    """

    first: int = 2
    last: int = 150
    decay: float = 0.9

    def __post_init__(self) -> None:
        if not 2 <= self.first <= self.last:
            raise RequestError.of("first, last", (self.first, self.last), "2 <= first <= last")
        if not 0 < self.decay < 1:
            raise RequestError.of("decay", self.decay, "between 0 and 1")

    def steps(self, update: int, updates: int) -> int:
        """N(k) = ceil(sqrt(k / K ((s1 + 1)^2 - s0^2) + s0^2) - 1) + 1."""
        power = update / updates * ((self.last + 1) ** 2 - self.first**2) + self.first**2
        return math.ceil(math.sqrt(power) - 1) + 1

    def decay_at(self, update: int, updates: int) -> float:
        """mu(k) = exp(s0 log(mu0) / N(k))."""
        return math.exp(self.first * math.log(self.decay) / self.steps(update, updates))
