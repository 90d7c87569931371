"""Adams-Bashforth methods on the noise: PNDM, PLMS and DEIS.

All replace the noise in DDIM's exact step by a combination of the noises of this and earlier steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import final

from bottega.errors import RequestError
from bottega.processes.diffusion.dpm_solvers import FEW_STEPS
from bottega.processes.diffusion.paths import Path
from bottega.processes.diffusion.solvers import Solver, Step
from bottega.processes.diffusion.staged import (
    Level,
    Mix,
    StagedStep,
    Target,
    exponential_moments,
    falling,
    first_order,
    mix,
    weights_of,
)

_ADAMS_BASHFORTH = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Pndm(Solver):
    """Pseudo numerical methods: classical multistep weights on the noise, and Runge-Kutta steps to begin with.

    The weights are those of even steps, whatever the grid; the method is of second order on smooth grids.

    Args:
        order: 4 is F-PNDM (Runge-Kutta of four calls in the first three steps), 2 is S-PNDM (an improved Euler step of
            two calls first).

    Source: arXiv:2202.09778 equations 9 to 13 and algorithm 2.
    """

    order: int = 4

    def __post_init__(self) -> None:
        if self.order not in (2, 4):
            raise RequestError.of("order", self.order, "2 (S-PNDM) or 4 (F-PNDM)")

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """x_s = alpha_s / alpha_t x_t + (sigma_s - alpha_s sigma_t / alpha_t) (combination of noises)."""
        warm_up = _improved_euler if self.order == 2 else _runge_kutta
        return _multistep(falling(times, path), path, self.order, warm_up, self.order - 1)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Plms(Solver):
    """PNDM's multistep part alone, its order rising from step to step; the first step asks twice.

    Stable Diffusion's own sampler (diffusers' `PNDMScheduler` with `skip_prk_steps`).

    Args:
        order: Highest order of the weights, 1 to 4.

    Source: arXiv:2202.09778 equation 12; arXiv:2112.10752 code.
    """

    order: int = 4

    def __post_init__(self) -> None:
        if self.order not in _ADAMS_BASHFORTH:
            raise RequestError.of("order", self.order, "between 1 and 4")

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """See `Pndm`."""
        return _multistep(falling(times, path), path, self.order, _improved_euler, min(self.order - 1, 1))


class DeisVariable(Enum):
    """In what DEIS takes the noise for a polynomial."""

    TIME = "time"
    """The path's own time: the paper's tAB."""
    RHO = "rho"
    """sigma / alpha: the paper's rho-AB."""
    LOG_RHO = "log_rho"
    """log(sigma / alpha), as in diffusers; this is DPM-Solver's multistep form with exact integrals."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Deis(Solver):
    """DEIS: Adams-Bashforth with the weights of the grid's own steps, one call a step.

    A step that starts in pure noise or ends in clean data is of first order.

    Args:
        order: Points of the polynomial, 1 to 4 (the paper counts from 0: tAB3 has four).
        variable: The polynomial's variable.
        lower_order_final: Takes the last steps at orders 1 and 2 when there are fewer than 15 steps.

    Source: arXiv:2204.13902 equations 13 to 15.
    """

    order: int = 3
    variable: DeisVariable = DeisVariable.LOG_RHO
    lower_order_final: bool = True

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3, 4):
            raise RequestError.of("order", self.order, "between 1 and 4")

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """x_s = alpha_s (x_t / alpha_t + sum of (integral of Lagrange polynomial i over rho) (noise i steps ago))."""
        steps: list[Step] = []
        past: list[Level] = []
        pairs = falling(times, path)
        for left, (t, s) in zip(reversed(range(len(pairs))), pairs, strict=True):
            past = [t, *(level for level in past if level.alpha > 0.0)][: self.order]
            limit = left + 1 if self.lower_order_final and len(pairs) < FEW_STEPS else self.order
            known = past[:limit] if s.sigma > 0.0 else [t]
            steps.append(StagedStep(((t.t, self._mix(known, s, path)),)))
        return steps

    def _mix(self, levels: list[Level], s: Level, path: Path) -> Mix:
        if len(levels) == 1:
            return first_order(levels[0], s)
        integrals = self._integrals(levels, s, path)
        return mix(s.alpha / levels[0].alpha, [s.alpha * i for i in integrals], levels, Target.NOISE)

    def _integrals(self, levels: list[Level], s: Level, path: Path) -> list[float]:
        """Integrals over rho, from the newest level to s, of the Lagrange polynomials of `levels`."""
        t = levels[0]
        h = s.log_ratio - t.log_ratio
        if self.variable is DeisVariable.LOG_RHO:
            places = [(level.log_ratio - t.log_ratio) / h for level in levels]
            scale = -s.sigma / s.alpha  # rho = rho_s e^(h (1 - u)), so d rho = -rho_s h e^(h (1 - u)) du
            return [scale * weight for weight in weights_of(places, exponential_moments(h, len(levels)))]
        here, there = t.sigma / t.alpha, s.sigma / s.alpha
        if self.variable is DeisVariable.RHO:
            places = [(level.sigma / level.alpha - here) / (there - here) for level in levels]
            moments = [(there - here) / (j + 1) for j in range(len(levels))]
            return weights_of(places, moments)
        places = [(level.t - t.t) / (s.t - t.t) for level in levels]
        moments = [0.0] * len(levels)
        for node, weight in _GAUSS:
            log_ratio = t.log_ratio + node * h
            place = (path.time_of_log_snr(2.0 * log_ratio) - t.t) / (s.t - t.t)
            part = -weight * h * math.exp(-log_ratio)
            for j in range(len(levels)):
                moments[j] += part * place**j
        return weights_of(places, moments)


def _gauss_legendre() -> tuple[tuple[float, float], ...]:
    """Nodes and weights of eight points between 0 and 1; exact for polynomials of degree 15."""
    half = (
        (0.1834346424956498, 0.3626837833783620),
        (0.5255324099163290, 0.3137066458778873),
        (0.7966664774136267, 0.2223810344533745),
        (0.9602898564975363, 0.1012285362903763),
    )
    return tuple((0.5 + 0.5 * sign * node, 0.5 * weight) for node, weight in half for sign in (-1.0, 1.0))


_GAUSS = _gauss_legendre()


def _multistep(pairs, path: Path, order: int, warm_up, warm_steps: int) -> list[Step]:  # noqa: ANN001
    steps: list[Step] = []
    past: list[Level] = []
    for number, (t, s) in enumerate(pairs):
        past = [t, *past][:order]
        if t.alpha == 0.0 or (number < warm_steps and s.sigma == 0.0):
            steps.append(StagedStep(((t.t, first_order(t, s)),)))
        elif number < warm_steps:
            steps.append(warm_up(t, s, path))
        else:
            steps.append(StagedStep(((t.t, _transfer(past, _ADAMS_BASHFORTH[len(past)], s)),)))
    return steps


def _transfer(levels: Sequence[Level], weights: Sequence[float], s: Level, *, origin: int = 0) -> Mix:
    """DDIM's step from level `origin` to `s` with a combination of noises. Source: arXiv:2202.09778 equation 9."""
    t = levels[origin]
    gain = s.sigma - s.alpha * t.sigma / t.alpha
    return mix(s.alpha / t.alpha, [gain * weight for weight in weights], levels, Target.NOISE, origin=origin)


def _improved_euler(t: Level, s: Level, path: Path) -> StagedStep:
    """Source: arXiv:2202.09778 appendix, "pseudo improved Euler"."""
    first, second = _transfer([t], (1.0,), s), _transfer([s, t], (1 / 2, 1 / 2), s, origin=1)
    return StagedStep(((t.t, first), (s.t, second)))


def _runge_kutta(t: Level, s: Level, path: Path) -> StagedStep:
    """Source: arXiv:2202.09778 equation 13; the middle is that of the path's own time."""
    m = Level.of(0.5 * (t.t + s.t), path)
    stages = (
        (t.t, _transfer([t], (1.0,), m)),
        (m.t, _transfer([m, t], (1.0, 0.0), m, origin=1)),
        (m.t, _transfer([m, m, t], (1.0, 0.0, 0.0), s, origin=2)),
        (s.t, _transfer([s, m, m, t], (1 / 6, 1 / 3, 1 / 3, 1 / 6), s, origin=3)),
    )
    return StagedStep(stages)
