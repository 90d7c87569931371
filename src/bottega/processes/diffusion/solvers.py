"""Solvers: each takes a denoiser from pure noise along a grid of times to a sample, whatever the modality.

A solver is a plan: all coefficients of a trajectory, worked out once, in double, as Python floats. A step is then one
or two calls of the denoiser and a few tensor operations. States are kept in float32 or wider; the denoiser sees the
start's dtype. Gradients flow unless the caller turns them off (`torch.no_grad()`, `torch.inference_mode()`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.objective import Randomness, noise_like
from bottega.processes.diffusion.paths import Path
from bottega.processes.diffusion.predictions import Denoiser, at_least_float
from bottega.processes.diffusion.staged import Ask, Draw, Level, falling

StepReport = Callable[[int, int, Tensor, Tensor], None]


def no_report(step: int, total: int, x_t: Tensor, x0: Tensor) -> None:
    """A step report that does nothing."""


def initial_noise(
    shape: Sequence[int],
    t: float,
    path: Path,
    *,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Pure noise of the size that a state has at time `t`. A CPU generator gives the same bits on every device."""
    noise = torch.randn(tuple(shape), generator=generator, dtype=torch.float32, device=generator.device)
    return (noise * path.sigma(float(t))).to(device=device or generator.device, dtype=dtype)


class Step(Protocol):
    """One step of a plan."""

    def take(self, x: Tensor, last_x0: Tensor, ask: Ask, draw: Draw) -> tuple[Tensor, Tensor]:
        """The next state and the latest x0, from the state and the x0 of the step before."""
        ...


class LinearStep(NamedTuple):
    """The step x <- a x + b x0(x, t) + back (x0 of the step before) + c noise."""

    t: float
    a: float
    b: float
    c: float = 0.0
    back: float = 0.0

    def take(self, x: Tensor, last_x0: Tensor, ask: Ask, draw: Draw) -> tuple[Tensor, Tensor]:
        """See `Step`. Only fresh tensors are changed in place: a denoiser may return its own input."""
        x0 = ask(x, self.t)
        ahead = torch.mul(x0, self.b).add_(x, alpha=self.a)
        if self.back:
            ahead.add_(last_x0, alpha=self.back)
        if self.c:
            ahead.add_(draw(x), alpha=self.c)
        return ahead, x0


class ChurnedStep(NamedTuple):
    """The step x <- lift x + spread noise, and then another step."""

    lift: float
    spread: float
    then: LinearStep | HeunStep

    def take(self, x: Tensor, last_x0: Tensor, ask: Ask, draw: Draw) -> tuple[Tensor, Tensor]:
        """See `Step`."""
        return self.then.take(torch.mul(x, self.lift).add_(draw(x), alpha=self.spread), last_x0, ask, draw)


class HeunStep(NamedTuple):
    """Heun's step: ahead = euler(x), then x <- a x + b x0(x) + c ahead + d x0(ahead, t)."""

    euler: LinearStep
    t: float
    a: float
    b: float
    c: float
    d: float

    def take(self, x: Tensor, last_x0: Tensor, ask: Ask, draw: Draw) -> tuple[Tensor, Tensor]:
        """See `Step`."""
        ahead, x0 = self.euler.take(x, last_x0, ask, draw)
        x0_ahead = ask(ahead, self.t)
        corrected = torch.mul(x, self.a).add_(x0, alpha=self.b).add_(ahead, alpha=self.c)
        return corrected.add_(x0_ahead, alpha=self.d), x0_ahead


class Solver(ABC):
    """A way to follow a denoiser along a grid of times. A solver says its plan; following it is the same for all."""

    @abstractmethod
    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """The steps from each time to the next.

        Raises:
            RequestError: The times are fewer than two or do not run in the solver's direction.
        """

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        times: Sequence[float],
        path: Path,
        *,
        cond: Any = None,
        generator: Randomness = None,
        report: StepReport = no_report,
    ) -> Tensor:
        """The state at the last time, in x's dtype.

        Args:
            denoiser: `(x_t, t, cond) -> x0`.
            x: The state at `times[0]`, `(b, ...)`; `initial_noise` makes one.
            times: Times of a grid, at least two.
            path: The path that the denoiser works on.
            cond: Handed to the denoiser as it is.
            generator: Source of the noise that stochastic solvers add, or one for each sample; the default is torch's
                own. A CPU generator gives the same draws on every device.
            report: Called after each step with the step's number from 1, the number of steps, the new state and the
                latest x0. It may raise to stop.
        """
        dtype = x.dtype
        x = last_x0 = at_least_float(x)
        is_half = x.dtype != dtype

        def denoise(state: Tensor, t: float) -> Tensor:
            return denoiser(state.to(dtype) if is_half else state, t, cond)

        def draw(state: Tensor) -> Tensor:
            return noise_like(state, generator)

        ask, steps = Ask(denoise), self.plan(times, path)
        total = len(steps)
        for number, step in enumerate(steps, 1):
            x, last_x0 = step.take(x, last_x0, ask, draw)
            report(number, total, x, last_x0)
        return x.to(dtype)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Churn:
    """Noise added and removed again in each step of `Euler` and `Heun`.

    Args:
        amount: S_churn, at least 0; 0 is none.
        low: S_min, the smallest s = sigma / alpha at which it happens.
        high: S_max, the largest.
        noise: S_noise, the standard deviation of the added noise over the right one.

    Source: arXiv:2206.00364 algorithm 2.
    """

    amount: float = 0.0
    low: float = 0.0
    high: float = math.inf
    noise: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.amount < math.inf:
            raise RequestError.of("churn amount", self.amount, "at least 0 and finite")
        if not 0 <= self.low <= self.high:
            raise RequestError.of("churn low, high", (self.low, self.high), "0 <= low <= high")
        if not 0 < self.noise < math.inf:
            raise RequestError.of("churn noise", self.noise, "above 0 and finite")

    def lifted(self, start: Level, path: Path, steps: int) -> tuple[Level, float, float]:
        """The noisier level to start from, and the factors of the state and of new noise that lead there."""
        if self.amount == 0.0 or start.alpha == 0.0 or not self.low <= start.sigma / start.alpha <= self.high:
            return start, 1.0, 0.0
        growth = 1.0 + min(self.amount / steps, math.sqrt(2.0) - 1.0)
        higher = Level.of(path.time_of_log_snr(-2.0 * math.log(start.sigma / start.alpha * growth)), path)
        return higher, higher.alpha / start.alpha, self.noise * _forward_std(higher, start)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Ddim(Solver):
    """DDIM: deterministic at eta 0, ancestral at eta 1. Source: arXiv:2010.02502 equations 12 and 16.

    Args:
        eta: Share of the ancestral noise, 0 to 1.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise RequestError.of("eta", self.eta, "between 0 and 1")

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """x_s = alpha_s x0 + sqrt(sigma_s^2 - c^2) eps + c noise, where eps = (x_t - alpha_t x0) / sigma_t."""
        steps = []
        for t, s in falling(times, path):
            c = self.eta * _posterior_std(t, s)
            a = math.sqrt(max(s.sigma**2 - c**2, 0.0)) / t.sigma
            steps.append(LinearStep(t.t, a, s.alpha - a * t.alpha, c))
        return steps


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Ddpm(Solver):
    """Ancestral sampling from q(x_s | x_t, x0) with the predicted x0. Source: arXiv:2006.11239 equations 6 and 7.

    Args:
        large_variance: Adds the noise of the forward step (beta, "fixed large") instead of the posterior's ("small").
            No noise is added in a step that ends in clean data.
    """

    large_variance: bool = False

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """x_s = (r sigma_s^2 x_t + alpha_s forward x0) / sigma_t^2 + c noise, where r = alpha_t / alpha_s."""
        steps = []
        for t, s in falling(times, path):
            forward = _forward_std(t, s)
            a = t.alpha / s.alpha * (s.sigma / t.sigma) ** 2
            b = s.alpha * (forward / t.sigma) ** 2
            c = forward if self.large_variance and s.sigma > 0.0 else _posterior_std(t, s)
            steps.append(LinearStep(t.t, a, b, c))
        return steps


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DdimInversion(Solver):
    """DDIM backwards: from a sample to the noise that DDIM makes it from. Times rise, from the clean end to noise.

    The denoiser is asked at the time that a step leads to (so that a start from clean data works) with the state of
    the time before, and the noise it implies there carries the step; exact as steps shrink.
    Source: arXiv:2010.02502 section 4.3.
    """

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """x_t = r x_s + (sigma_t - r sigma_s) eps, r = alpha_t / alpha_s, eps = (x_s - alpha_t x0) / sigma_t."""
        steps = []
        for t, s in falling(times[::-1], path, "rising"):
            ratio = t.alpha / s.alpha
            gain = 1.0 - ratio * s.sigma / t.sigma
            steps.append(LinearStep(t.t, ratio + gain, -gain * t.alpha))
        return steps[::-1]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Euler(Solver):
    """Euler's method on the path's ODE; without churn it is DDIM at eta 0. Source: arXiv:2206.00364 section 3.

    Args:
        churn: Noise added and removed again.
    """

    churn: Churn = field(default_factory=Churn)

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """y_s = y_t + (s - t) (y_t - x0) / t in y = x / scale, with noise levels s and t over the same scale."""
        return _churned(times, path, self.churn, _euler_step)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Heun(Solver):
    """Heun's second-order method, two calls a step, one in a step that ends in clean data.

    Args:
        churn: Noise added and removed again.

    Source: arXiv:2206.00364 algorithms 1 and 2.
    """

    churn: Churn = field(default_factory=Churn)

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """Euler's step, then the mean of the slopes at both its ends."""
        return _churned(times, path, self.churn, _heun_step)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DpmSolverPp2m(Solver):
    """DPM-Solver++ (2M): second-order multistep, one call a step. Source: arXiv:2211.01095 algorithm 2.

    Args:
        lower_order_final: Takes the last step at first order when there are fewer than 15 steps. A step that ends in
            clean data is of first order in any case.
    """

    lower_order_final: bool = True

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """x_s = (sigma_s / sigma_t) x_t - alpha_s (e^-h - 1) ((1 + h / 2 h') x0 - (h / 2 h') last x0)."""
        steps = []
        pairs = falling(times, path)
        last_h = math.inf
        for number, (t, s) in enumerate(pairs, 1):
            a = s.sigma / t.sigma
            gain = s.alpha - a * t.alpha
            h = math.log(s.alpha / (a * t.alpha)) if a * t.alpha > 0.0 else math.inf
            lower_last = self.lower_order_final and len(pairs) < _FEW_STEPS and number == len(pairs)
            part = 0.0 if lower_last or math.isinf(h) else 0.5 * h / last_h
            steps.append(LinearStep(t.t, a, gain * (1.0 + part), 0.0, -gain * part))
            last_h = h
        return steps


_FEW_STEPS = 15


def _forward_std(t: Level, s: Level) -> float:
    """Standard deviation of q(x_t | x_s) for s before t."""
    return math.sqrt(max(t.sigma**2 - (t.alpha / s.alpha * s.sigma) ** 2, 0.0))


def _posterior_std(t: Level, s: Level) -> float:
    """Standard deviation of q(x_s | x_t, x0) for s before t."""
    return _forward_std(t, s) * s.sigma / t.sigma


def _churned(
    times: Sequence[float], path: Path, churn: Churn, make: Callable[[Level, Level, Path], LinearStep | HeunStep]
) -> list[Step]:
    steps: list[Step] = []
    for start, end in falling(times, path):
        t, lift, spread = churn.lifted(start, path, len(times) - 1)
        step = make(t, end, path)
        steps.append(ChurnedStep(lift, spread, step) if spread else step)
    return steps


def _euler_step(t: Level, s: Level, path: Path) -> LinearStep:
    scale_t, scale_s = path.scale(t.t), path.scale(s.t)
    ratio = (s.sigma / scale_s) / (t.sigma / scale_t)
    return LinearStep(t.t, scale_s / scale_t * ratio, scale_s * (1.0 - ratio))


def _heun_step(t: Level, s: Level, path: Path) -> LinearStep | HeunStep:
    euler = _euler_step(t, s, path)
    if s.sigma == 0.0:
        return euler
    scale_t, scale_s = path.scale(t.t), path.scale(s.t)
    level_t, level_s = t.sigma / scale_t, s.sigma / scale_s
    half = 0.5 * (level_s - level_t)
    a, b = scale_s / scale_t * (1.0 + half / level_t), -scale_s * half / level_t
    return HeunStep(euler, s.t, a, b, half / level_s, -scale_s * half / level_s)
