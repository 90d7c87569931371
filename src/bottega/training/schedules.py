"""Learning-rate schedules: each is a type with one method, the factor on the base rate at a step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bottega.errors import RequestError


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant:
    """The base rate, unchanged after the warm-up."""

    def factor(self, step: int, steps: int, warmup_steps: int) -> float:
        """Factor on the base rate; see `rate_factor` for the arguments."""
        return 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear:
    """A straight line from 1 at the end of the warm-up to `final` at the last step.

    Args:
        final: Factor at the end, in [0, 1].
    """

    final: float = 0.0

    def __post_init__(self) -> None:
        _check_final(self.final)

    def factor(self, step: int, steps: int, warmup_steps: int) -> float:
        """Factor on the base rate; see `rate_factor` for the arguments."""
        return 1.0 + (self.final - 1.0) * _progress(step, steps, warmup_steps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cosine:
    """Half a cosine from 1 at the end of the warm-up to `final` at the last step.

    Args:
        final: Factor at the end, in [0, 1].

    Source: arXiv:1608.03983, equation 5, one period without restarts.
    """

    final: float = 0.1

    def __post_init__(self) -> None:
        _check_final(self.final)

    def factor(self, step: int, steps: int, warmup_steps: int) -> float:
        """Factor on the base rate; see `rate_factor` for the arguments."""
        wave = 0.5 * (1.0 + math.cos(math.pi * _progress(step, steps, warmup_steps)))
        return self.final + (1.0 - self.final) * wave


@dataclass(frozen=True, kw_only=True, slots=True)
class InverseSquareRoot:
    """Falls as one over the square root of the step after the warm-up.

    Source: arXiv:1706.03762, equation 3, scaled to reach 1 at the end of the warm-up.
    """

    def factor(self, step: int, steps: int, warmup_steps: int) -> float:
        """Factor on the base rate; see `rate_factor` for the arguments."""
        warm = max(warmup_steps, 1)
        return math.sqrt(warm / max(step, warm))


Schedule = Constant | Linear | Cosine | InverseSquareRoot


def rate_factor(schedule: Schedule, step: int, steps: int, warmup_steps: int) -> float:
    """Factor on every base learning rate for one update.

    Args:
        schedule: The shape after the warm-up.
        step: The update about to be made, from 0.
        steps: Updates in all.
        warmup_steps: Updates over which the rate rises linearly; the first update already has 1 / warmup_steps.

    Returns:
        A factor in [0, 1].
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return schedule.factor(step, steps, warmup_steps)


def _progress(step: int, steps: int, warmup_steps: int) -> float:
    """How much of the run after the warm-up is over: 0 at its first update, 1 at the last one."""
    return min(1.0, (step - warmup_steps) / max(1, steps - 1 - warmup_steps))


def _check_final(final: float) -> None:
    if not 0.0 <= final <= 1.0:
        raise RequestError.of("final", final, "between 0 and 1")
