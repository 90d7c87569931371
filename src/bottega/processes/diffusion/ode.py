"""Adaptive Runge-Kutta 4(5) of Dormand and Prince, and the probability-flow ODE solved with it.

Source: Dormand and Prince, J. Comp. Appl. Math. 6 (1980) 19-26, table 2; step control as in Hairer, Norsett and Wanner,
Solving Ordinary Differential Equations I, section II.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.paths import Path
from bottega.processes.diffusion.predictions import Denoiser, Time
from bottega.processes.diffusion.sde import ProbabilityFlow
from bottega.processes.diffusion.solvers import Ask, Draw, Solver, Step

Field = Callable[[float, Tensor], Tensor]

_NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0)
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
)
_FIFTH_ORDER = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
"""Fifth order minus the embedded fourth, over all seven slopes."""


class Solution(NamedTuple):
    """The end of a trajectory.

    Args:
        y: The state at the end, `(b, ...)`.
        steps: Accepted steps.
        rejected: Steps whose error was too large and that were taken again.
        evaluations: Calls of the field.
    """

    y: Tensor
    steps: int
    rejected: int
    evaluations: int


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Dopri5:
    """Dormand-Prince steps whose size keeps the local error within atol + rtol |y|.

    The error of a sample is a root mean square over its numbers; the step suits the sample with the largest.

    Args:
        rtol: Relative tolerance, above 0. The default of both is that of arXiv:2011.13456.
        atol: Absolute tolerance, above 0.
        max_steps: Most steps, rejected ones too, before giving up.
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    max_steps: int = 10_000

    def __post_init__(self) -> None:
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if not 0 < value < 1:
                raise RequestError.of(name, value, "above 0 and below 1", "1e-5 is the paper's")
        if self.max_steps < 1:
            raise RequestError.of("max_steps", self.max_steps, "at least 1")

    def solve(self, field: Field, y: Tensor, start: float, end: float) -> Solution:
        """Follows dy/dt = field(t, y) from `start` to `end`, forwards or backwards.

        Args:
            field: `(t, y) -> dy/dt` of y's shape.
            y: The state at `start`, `(b, ...)`, float32 or float64.
            start: The first time.
            end: The last time.

        Raises:
            RequestError: The field is not finite, or needs more than `max_steps` steps.
        """
        slope = field(start, y)
        size, t = self._first_size(field, y, slope, start, end), start
        steps, tries, shrunk = 0, 0, False
        while t != end:
            if tries == self.max_steps:
                fix = f"the solver came to t = {t:.6g}; use a larger rtol and atol, or max_steps"
                raise RequestError.of("max_steps", self.max_steps, "large enough", fix)
            tries += 1
            size, ahead = _cut(size, t, end)
            new, slopes = _stages(field, y, slope, t, ahead)
            size, accepted = self._next_size(self._error(slopes, ahead - t, y, new), ahead - t, shrunk)
            shrunk = not accepted
            if accepted:
                t, y, slope, steps = ahead, new, slopes[-1], steps + 1
        return Solution(y, steps, tries - steps, 2 + 6 * tries)

    def _error(self, slopes: Sequence[Tensor], gap: float, old: Tensor, new: Tensor) -> float:
        """The step's error over what is tolerated."""
        return self._size(_weighted(slopes, _ERROR).mul_(gap), torch.maximum(old.abs(), new.abs()))

    def _next_size(self, error: float, gap: float, shrunk: bool) -> tuple[float, bool]:
        """How long the next try is, and whether this one is good enough."""
        if not math.isfinite(error):
            raise RequestError("the ODE's right side is not finite; check the model's weights and the path's ends")
        factor = 0.9 * error**-0.2 if error > 0.0 else _MOST_GROWTH
        if error < 1.0:
            return abs(gap) * min(factor, 1.0 if shrunk else _MOST_GROWTH), True
        return abs(gap) * max(factor, _LEAST_GROWTH), False

    def _first_size(self, field: Field, y: Tensor, slope: Tensor, start: float, end: float) -> float:
        """A first step by the size of the field and of its change. Source: Hairer, section II.4."""
        span, size = abs(end - start), y.abs()
        d0, d1 = self._size(y, size), self._size(slope, size)
        trial = min(1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1, span)
        if trial == 0.0:
            return 0.0
        step = math.copysign(trial, end - start)
        d2 = self._size(field(start + step, y + step * slope) - slope, size) / trial
        flat = d1 <= 1e-15 and d2 <= 1e-15
        return min(100 * trial, max(1e-6, trial * 1e-3) if flat else (0.01 / max(d1, d2)) ** 0.2, span)

    def _size(self, x: Tensor, magnitude: Tensor) -> float:
        """The largest sample's root mean square of x over the tolerance at this magnitude."""
        return (x / (self.atol + self.rtol * magnitude)).flatten(1).square().mean(1).max().sqrt().item()


_MOST_GROWTH, _LEAST_GROWTH = 10.0, 0.2


def _cut(size: float, t: float, end: float) -> tuple[float, float]:
    """A step's size and end, not smaller than rounding allows and not beyond `end`."""
    size = max(size, 10 * math.ulp(t))
    if size >= abs(end - t):
        return abs(end - t), end
    return size, t + math.copysign(size, end - t)


def _weighted(slopes: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = torch.mul(slopes[0], weights[0])
    for slope, weight in zip(slopes[1:], weights[1:], strict=True):
        if weight:
            total.add_(slope, alpha=weight)
    return total


def _stages(field: Field, y: Tensor, slope: Tensor, t: float, ahead: float) -> tuple[Tensor, list[Tensor]]:
    """The state at `ahead` and all seven slopes; the last is the first of the next step."""
    slopes, gap = [slope], ahead - t
    for node, weights in zip(_NODES, _STAGES, strict=True):
        slopes.append(field(t + node * gap, y + _weighted(slopes, weights).mul_(gap)))
    new = y + _weighted(slopes, _FIFTH_ORDER).mul_(gap)
    slopes.append(field(ahead, new))
    return new, slopes


def flow_start(path: Path) -> float:
    """The least noisy time to which the probability flow is followed, because the ODE ends at sigma 0.

    It is t_min, or a thousandth of the way to t_max on a path that is clean already at t_min.
    """
    if path.sigma(path.t_min) > 0.0:
        return path.t_min
    return path.t_min + 1e-3 * (path.t_max - path.t_min)


class OdeStep(NamedTuple):
    """The probability flow from one time to another, by an adaptive method."""

    t: float
    s: float
    path: Path
    method: Dopri5

    def take(self, x: Tensor, last_x0: Tensor, ask: Ask, draw: Draw) -> tuple[Tensor, Tensor]:
        """See `Step`. To clean data the flow is followed to `flow_start`, and the rest is the denoiser's x0."""
        calls = [last_x0]

        def denoiser(state: Tensor, t: Time, cond: Any = None) -> Tensor:
            calls[0] = ask(state, float(t))
            return calls[0]

        clean = self.path.sigma(self.s) == 0.0
        end = min(self.t, flow_start(self.path)) if clean else self.s
        x = self.method.solve(ProbabilityFlow(denoiser, self.path), x, self.t, end).y
        if not clean:
            return x, calls[0]
        x0 = ask(x, end)
        return self.path.alpha(self.s) * x0, x0


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveOde(Solver):
    """The probability-flow ODE solved to a tolerance. The grid's inner times are stops: one gap is followed freely.

    Args:
        method: Dormand-Prince with its tolerances.

    Source: arXiv:2011.13456 section 4.3 and appendix D.4.
    """

    method: Dopri5 = Dopri5()

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """The flow from each time to the next."""
        if len(times) < 2 or not all(t > s for t, s in pairwise(times)):
            raise RequestError.of("times", tuple(times)[:8], "at least two strictly falling numbers")
        return [OdeStep(t, s, path, self.method) for t, s in pairwise(times)]


def encode(denoiser: Denoiser, x: Tensor, path: Path, *, cond: Any = None, method: Dopri5 = Dopri5()) -> Tensor:  # noqa: ANN401 - the model's type
    """The noise at t_max that the probability flow brings clean samples `(b, ...)` to: a code unique to each."""
    flow = ProbabilityFlow(denoiser, path, cond)
    return method.solve(flow, x, flow_start(path), path.t_max).y


def decode(denoiser: Denoiser, code: Tensor, path: Path, *, cond: Any = None, method: Dopri5 = Dopri5()) -> Tensor:  # noqa: ANN401
    """The samples that the probability flow makes of noise at t_max: the inverse of `encode`."""
    flow = ProbabilityFlow(denoiser, path, cond)
    return method.solve(flow, code, path.t_max, flow_start(path)).y
