"""Exponential integrators in log(alpha / sigma): DPM-Solver, DPM-Solver++, their stochastic forms, and UniPC.

All follow x_s = base x_t + integral of the target, where the target (x0 or the noise) is a polynomial in
log(alpha / sigma) through the points where the denoiser was asked. A method is which points, and how exactly the
integral is taken. Sources: arXiv:2206.00927, arXiv:2211.01095, arXiv:2302.04867.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise, zip_longest
from typing import final

from bottega.errors import RequestError
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
    noise_decay,
    weights_of,
)

FEW_STEPS = 15
"""Below this many steps the last ones are taken at lower order, if asked for."""


class Expansion(Enum):
    """How the integral of the interpolating polynomial is taken."""

    AUTHORS = "authors"
    """As in the authors' code: the second order's factor simplified to a half ("midpoint"), and the third multistep
    order with half the curvature that a polynomial has, which makes it of second order with a small constant."""
    EXACT = "exact"
    """Exactly ("taylor", "heun")."""


class Nodes(Enum):
    """Where a singlestep method asks the denoiser within a step."""

    BETWEEN = "between"
    """At places of its own between two times of the grid: `order` calls a step."""
    GRID = "grid"
    """At the grid's times: `order` steps of the grid make one step of the method, one call each."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DpmMultistep(Solver):
    """DPM-Solver in its multistep form, one call a step: DPM-Solver++ 2M and 3M, their SDE forms, DPM-Solver 2M.

    A step that starts in pure noise or ends in clean data is of first order.

    Args:
        order: Points of the polynomial, 1 to 3.
        target: What is a polynomial; `DATA` is DPM-Solver++.
        eta: Share of the reverse SDE's noise, 0 to 1; above 0 only for `DATA`. 1 is "2M SDE" ("sde-dpmsolver++").
        expansion: How it is integrated.
        lower_order_final: Takes the last step at first order, and the last but one at most at second, when there are
            fewer than 15 steps.

    Source: arXiv:2211.01095 algorithm 2 and section 5; arXiv:2206.00927 appendix D.
    """

    order: int = 3
    target: Target = Target.DATA
    eta: float = 0.0
    expansion: Expansion = Expansion.AUTHORS
    lower_order_final: bool = True

    def __post_init__(self) -> None:
        check_settings(self.order, self.target, self.eta)

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """x_s = base x_t + sum of weight i (target i steps ago)."""
        steps: list[Step] = []
        past: list[Level] = []
        pairs = falling(times, path)
        for left, (t, s) in zip(reversed(range(len(pairs))), pairs, strict=True):
            past = [t, *(level for level in past if level.alpha > 0.0)][:3]
            limit = left + 1 if self.lower_order_final and len(pairs) < FEW_STEPS else self.order
            order = min(self.order, limit, len(past)) if s.sigma > 0.0 else 1
            steps.append(StagedStep(((t.t, self._mix(past[:order], s)),)))
        return steps

    def _mix(self, levels: list[Level], s: Level) -> Mix:
        """The combination that leads to `s` from `levels`, newest first."""
        if len(levels) == 1:
            return first_order(levels[0], s, eta=self.eta)
        base, scale, rate = frame(levels[0], s, self.target, self.eta)
        moments, places = exponential_moments(rate, len(levels)), places_of(levels, levels[0], s)
        if self.expansion is Expansion.AUTHORS:
            moments[-1] = 0.5 * (moments[0] if len(levels) == 2 else moments[2])
        weights = [-scale * weight for weight in weights_of(places, moments)]
        noises = carried_noise([levels[0], s], self.eta)
        return mix(base, weights, levels, self.target, noises=noises)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DpmSinglestep(Solver):
    """DPM-Solver-1, -2 and -3, and DPM-Solver++ 2S, 3S and their SDE form ("DPM++ SDE").

    A step that starts in pure noise or ends in clean data is of first order: DDIM.

    Args:
        order: Calls of the denoiser in one step of the method, 1 to 3.
        target: What is a polynomial; `DATA` is DPM-Solver++.
        eta: Share of the reverse SDE's noise, 0 to 1; above 0 only for `DATA` and `BETWEEN`.
        expansion: How it is integrated.
        nodes: Where the denoiser is asked. `BETWEEN` asks at 1/2 of a step in log(alpha / sigma) for order 2, at 1/3
            and 2/3 for order 3, as in the paper. With `GRID` the last interval of the grid stands alone.

    Source: arXiv:2206.00927 algorithms 1 and 2; arXiv:2211.01095 algorithm 1.
    """

    order: int = 3
    target: Target = Target.NOISE
    eta: float = 0.0
    expansion: Expansion = Expansion.AUTHORS
    nodes: Nodes = Nodes.BETWEEN

    def __post_init__(self) -> None:
        check_settings(self.order, self.target, self.eta)
        if self.eta > 0.0 and self.nodes is Nodes.GRID:
            raise RequestError.of("eta", self.eta, "0 where nodes is GRID", "use Nodes.BETWEEN")

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """Each stage starts from the step's own start: x_u = base x_t + sum of weight i (target i)."""
        pairs = falling(times, path)
        if self.nodes is Nodes.BETWEEN:
            return [self._step(t, s, path) for t, s in pairs]
        steps: list[Step] = []
        group: list[Level] = []
        for left, (t, s) in zip(reversed(range(len(pairs))), pairs, strict=True):
            goes_on = 0 < len(group) < self.order and left > 0 and group[0].alpha > 0.0
            group = [*group, t] if goes_on else [t]
            steps.append(StagedStep(((t.t, self._mix(group, s, self.expansion)),)))
        return steps

    def _step(self, t: Level, s: Level, path: Path) -> StagedStep:
        places = _PLACES[self.order] if t.alpha > 0.0 and s.sigma > 0.0 else ()
        start, end = t.log_ratio, s.log_ratio
        inner = [Level.of(path.time_of_log_snr(2.0 * (start + place * (end - start))), path) for place in places]
        levels = [t, *inner, s]
        mixes = [self._mix(levels[: i + 1], levels[i + 1], Expansion.EXACT) for i in range(len(inner))]
        mixes.append(self._mix(levels[:-1], s, self.expansion))
        return StagedStep(tuple(zip((level.t for level in levels), mixes, strict=False)))

    def _mix(self, levels: list[Level], s: Level, expansion: Expansion) -> Mix:
        """The combination that leads to `s` from `levels`, oldest first."""
        if len(levels) == 1:
            return first_order(levels[0], s, eta=self.eta)
        base, scale, rate = frame(levels[0], s, self.target, self.eta)
        moments, places = exponential_moments(rate, len(levels)), places_of(levels, levels[0], s)
        if expansion is Expansion.EXACT:
            weights = weights_of(places, moments)
        elif len(levels) == 2:
            weights = weights_of(places, [moments[0], 0.5 * moments[0]])
        else:
            outer = weights_of((places[0], places[2]), moments[:2])
            weights = [outer[0], 0.0, outer[1]]
        factors = [-scale * weight for weight in reversed(weights)]
        noises = carried_noise([*levels, s], self.eta)
        return mix(base, factors, levels[::-1], self.target, origin=len(levels) - 1, noises=noises)


_PLACES = {1: (), 2: (1 / 2,), 3: (1 / 3, 2 / 3)}


class Bh(Enum):
    """UniPC's B(h). It counts where one weight alone is free: predictors of order 2, correctors of order 1."""

    BH1 = "bh1"
    """h: for guidance and few steps less stable, better for unconditional sampling."""
    BH2 = "bh2"
    """e^h - 1."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class UniPc(Solver):
    """UniPC: a multistep predictor, and a corrector that uses the next step's call, so that each step costs one call.

    A step that starts in pure noise or ends in clean data is of first order and is not corrected.

    Args:
        order: Points of the predictor, 1 to 3; the corrector has one more.
        target: What is a polynomial.
        bh: B(h).
        corrector: Whether states are corrected; without, it is UniP.
        lower_order_final: Lowers the order in the last steps down to 1.

    Source: arXiv:2302.04867 algorithms 1 to 3.
    """

    order: int = 3
    target: Target = Target.DATA
    bh: Bh = Bh.BH2
    corrector: bool = True
    lower_order_final: bool = True

    def __post_init__(self) -> None:
        check_settings(self.order, self.target, 0.0)

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """x_s = base (x_t + correction of x_t) + sum of weight i (target i steps ago)."""
        steps: list[Step] = []
        past: list[Level] = []
        correction: list[float] = []
        pairs = falling(times, path)
        for left, (t, s) in zip(reversed(range(len(pairs))), pairs, strict=True):
            past = [t, *past][: self.order + 1]
            if t.alpha == 0.0 or s.sigma == 0.0:
                steps.append(StagedStep(((t.t, first_order(t, s)),)))
                past = past if t.alpha > 0.0 else []
                correction = []
                continue
            limit = left + 1 if self.lower_order_final else self.order
            known = past[: min(self.order, limit)]
            base, scale, rate = frame(t, s, self.target, 0.0)
            predictor = self._weights(known, t, s, rate)
            weights = _sum([base * c for c in correction], [-scale * p for p in predictor])
            steps.append(StagedStep(((t.t, mix(base, weights, past, self.target)),)))
            if self.corrector:
                corrected = self._weights([s, *known], t, s, rate)
                correction = [-scale * c for c in _sum(corrected, [0.0, *(-p for p in predictor)])]
        return steps

    def _weights(self, levels: list[Level], t: Level, s: Level, rate: float) -> list[float]:
        moments = exponential_moments(rate, len(levels))
        if len(levels) == 2:
            moments[1] = 0.5 * (moments[0] if self.bh is Bh.BH2 else rate)
        return weights_of(places_of(levels, t, s), moments)


def check_settings(order: int, target: Target, eta: float) -> None:
    """Refuses what these solvers do not have.

    Raises:
        RequestError: The order is not 1, 2 or 3, or eta is outside 0 to 1 or not 0 for the target `NOISE`.
    """
    if order not in (1, 2, 3):
        raise RequestError.of("order", order, "1, 2 or 3")
    if not 0.0 <= eta <= 1.0:
        raise RequestError.of("eta", eta, "between 0 and 1")
    if eta > 0.0 and target is Target.NOISE:
        raise RequestError.of("eta", eta, "0 for the target NOISE", "use Target.DATA")


def frame(t: Level, s: Level, target: Target, eta: float) -> tuple[float, float, float]:
    """Base, scale and rate of x_s = base x_t - scale (integral of rate e^(rate (1 - u)) target du), u from 0 to 1."""
    h = s.log_ratio - t.log_ratio
    if target is Target.NOISE:
        return s.alpha / t.alpha, s.sigma, h
    return s.sigma / t.sigma * noise_decay(t, s, eta)[0], s.alpha, -(1.0 + eta) * h


def places_of(levels: Sequence[Level], t: Level, s: Level) -> list[float]:
    """Where levels lie in log(alpha / sigma), as parts of the way from `t` (0) to `s` (1)."""
    start = t.log_ratio
    h = s.log_ratio - start
    return [(level.log_ratio - start) / h for level in levels]


def carried_noise(levels: Sequence[Level], eta: float) -> tuple[float, ...]:
    """Factors at the last level of noises that come in between each two levels, newest first; () without noise.

    Stages of one step thus see one and the same Brownian path.
    """
    if eta == 0.0:
        return ()
    end = levels[-1]
    gaps = [noise_decay(t, s, eta)[1] * noise_decay(s, end, eta)[0] for t, s in pairwise(levels)]
    return tuple(end.sigma * gap for gap in reversed(gaps))


def _sum(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [a + b for a, b in zip_longest(one, other, fillvalue=0.0)]
