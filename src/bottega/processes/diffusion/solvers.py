"""Solvers: each takes a denoiser from pure noise along a grid of times to a sample, whatever the modality.

All coefficients of a trajectory are worked out once, in double, as Python floats; a step is then one call of the
denoiser and two or three tensor operations. States are kept in float32 or wider; the denoiser sees the start's dtype.
Gradients flow unless the caller turns them off with `torch.no_grad()` or `torch.inference_mode()`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.objective import noise_like
from bottega.processes.diffusion.paths import Path
from bottega.processes.diffusion.predictions import Denoiser, at_least_float

StepReport = Callable[[int, int, Tensor, Tensor], None]


def no_report(step: int, total: int, x_t: Tensor, x0: Tensor) -> None:
    """A step report that does nothing."""


class Solver(Protocol):
    """Follows `denoiser` from `x` at `times[0]` to `times[-1]`."""

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        times: Sequence[float],
        path: Path,
        *,
        cond: Any = None,
        generator: torch.Generator | None = None,
        report: StepReport = no_report,
    ) -> Tensor:
        """The state at the last time, in x's dtype.

        Args:
            denoiser: `(x_t, t, cond) -> x0`.
            x: The state at `times[0]`, `(b, ...)`; `initial_noise` makes one.
            times: Times of a grid, at least two.
            path: The path that the denoiser works on.
            cond: Handed to the denoiser as it is.
            generator: Source of the noise that stochastic solvers add; the default is torch's own.
            report: Called after each step with the step's number from 1, the number of steps, the new state and the
                latest x0. It may raise to stop.
        """
        ...


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


class LinearStep(NamedTuple):
    """One step x <- a x + b x0(x, t) + c noise."""

    t: float
    a: float
    b: float
    c: float


class HeunStep(NamedTuple):
    """One step of Heun's method: x' is the Euler step, then x <- a x + b x0(x) + c x' + d x0(x').

    Before it x <- lift x + spread noise (churn). `second` is the time of the second call, or None for an Euler step.
    """

    lift: float
    spread: float
    euler: LinearStep
    second: float | None
    a: float
    b: float
    c: float
    d: float


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

    def lifted(self, t: float, path: Path, steps: int) -> tuple[float, float, float]:
        """The noisier time to start from, and the factors of the state and of new noise that lead there."""
        alpha, sigma = path.alpha(t), path.sigma(t)
        if self.amount == 0.0 or alpha == 0.0 or not self.low <= sigma / alpha <= self.high:
            return t, 1.0, 0.0
        growth = 1.0 + min(self.amount / steps, math.sqrt(2.0) - 1.0)
        higher = path.time_of_log_snr(-2.0 * math.log(sigma / alpha * growth))
        lift = path.alpha(higher) / alpha
        return higher, lift, self.noise * math.sqrt(max(path.sigma(higher) ** 2 - (lift * sigma) ** 2, 0.0))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Ddim:
    """DDIM: deterministic at eta 0, ancestral at eta 1. Source: arXiv:2010.02502 equations 12 and 16.

    Args:
        eta: Share of the ancestral noise, 0 to 1.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise RequestError.of("eta", self.eta, "between 0 and 1")

    def plan(self, times: Sequence[float], path: Path) -> list[LinearStep]:
        """The coefficients of every step."""
        steps = []
        for t, s in pairwise(_falling(times)):
            noise = self.eta * _posterior_std(t, s, path)
            sigma_s = path.sigma(s)
            a = math.sqrt(max(sigma_s**2 - noise**2, 0.0)) / path.sigma(t)
            steps.append(LinearStep(t, a, path.alpha(s) - a * path.alpha(t), noise))
        return steps

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        times: Sequence[float],
        path: Path,
        *,
        cond: Any = None,
        generator: torch.Generator | None = None,
        report: StepReport = no_report,
    ) -> Tensor:
        """See `Solver`."""
        return _follow(denoiser, x, self.plan(times, path), cond, generator, report)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Ddpm:
    """Ancestral sampling from q(x_s | x_t, x0) with the predicted x0. Source: arXiv:2006.11239 equations 6 and 7.

    Args:
        large_variance: Adds the noise of the forward step (beta, "fixed large") instead of the posterior's ("small").
            No noise is added in a step that ends in clean data.
    """

    large_variance: bool = False

    def plan(self, times: Sequence[float], path: Path) -> list[LinearStep]:
        """The coefficients of every step."""
        steps = []
        for t, s in pairwise(_falling(times)):
            alpha_s, sigma_s, sigma_t = path.alpha(s), path.sigma(s), path.sigma(t)
            ratio = path.alpha(t) / alpha_s
            forward = max(sigma_t**2 - (ratio * sigma_s) ** 2, 0.0)
            noise = _posterior_std(t, s, path)
            if self.large_variance and sigma_s > 0.0:
                noise = math.sqrt(forward)
            steps.append(LinearStep(t, ratio * (sigma_s / sigma_t) ** 2, alpha_s * forward / sigma_t**2, noise))
        return steps

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        times: Sequence[float],
        path: Path,
        *,
        cond: Any = None,
        generator: torch.Generator | None = None,
        report: StepReport = no_report,
    ) -> Tensor:
        """See `Solver`."""
        return _follow(denoiser, x, self.plan(times, path), cond, generator, report)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DdimInversion:
    """DDIM backwards: from a sample to the noise that DDIM makes it from. Times rise, from the clean end to noise.

    The network is asked at the time that a step leads to (so a start from clean data works), with the state of the
    time before, as in prompt-to-prompt editing: exact as steps shrink. Source: arXiv:2010.02502 section 4.3.
    """

    def plan(self, times: Sequence[float], path: Path) -> list[LinearStep]:
        """The coefficients of every step."""
        steps = []
        for s, t in pairwise(_rising(times)):
            ratio, alpha_t, sigma_t = path.alpha(t) / path.alpha(s), path.alpha(t), path.sigma(t)
            noise_gain = (sigma_t - ratio * path.sigma(s)) / sigma_t
            steps.append(LinearStep(t, ratio + noise_gain, -noise_gain * alpha_t, 0.0))
        return steps

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        times: Sequence[float],
        path: Path,
        *,
        cond: Any = None,
        generator: torch.Generator | None = None,
        report: StepReport = no_report,
    ) -> Tensor:
        """See `Solver`; `times` rise."""
        return _follow(denoiser, x, self.plan(times, path), cond, generator, report)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Euler:
    """Euler's method on the path's ODE; without churn it is DDIM at eta 0. Source: arXiv:2206.00364 section 3.

    Args:
        churn: Noise added and removed again.
    """

    churn: Churn = field(default_factory=Churn)

    def plan(self, times: Sequence[float], path: Path) -> list[HeunStep]:
        """The coefficients of every step."""
        return _runge_kutta(times, path, self.churn, second_order=False)

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        times: Sequence[float],
        path: Path,
        *,
        cond: Any = None,
        generator: torch.Generator | None = None,
        report: StepReport = no_report,
    ) -> Tensor:
        """See `Solver`."""
        return _follow_heun(denoiser, x, self.plan(times, path), cond, generator, report)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Heun:
    """Heun's second-order method, two calls a step, one in a step that ends in clean data.

    Args:
        churn: Noise added and removed again.

    Source: arXiv:2206.00364 algorithms 1 and 2.
    """

    churn: Churn = field(default_factory=Churn)

    def plan(self, times: Sequence[float], path: Path) -> list[HeunStep]:
        """The coefficients of every step."""
        return _runge_kutta(times, path, self.churn, second_order=True)

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        times: Sequence[float],
        path: Path,
        *,
        cond: Any = None,
        generator: torch.Generator | None = None,
        report: StepReport = no_report,
    ) -> Tensor:
        """See `Solver`."""
        return _follow_heun(denoiser, x, self.plan(times, path), cond, generator, report)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DpmSolverPp2m:
    """DPM-Solver++ (2M): second-order multistep, one call a step. Source: arXiv:2211.01095 algorithm 2.

    Args:
        lower_order_final: Takes the last step at first order when there are fewer than 15 steps. A step that ends in
            clean data is of first order in any case.
    """

    lower_order_final: bool = True

    def plan(self, times: Sequence[float], path: Path) -> list[tuple[LinearStep, float]]:
        """The coefficients of every step, with the factor of the x0 of the step before."""
        steps: list[tuple[LinearStep, float]] = []
        times = _falling(times)
        half_log_snr = [0.5 * path.log_snr(t) if path.sigma(t) > 0 else math.inf for t in times]
        for i, (t, s) in enumerate(pairwise(times)):
            a = path.sigma(s) / path.sigma(t)
            gain = path.alpha(s) - a * path.alpha(t)
            h = half_log_snr[i + 1] - half_log_snr[i]
            is_last = i == len(times) - 2
            first_order = i == 0 or math.isinf(h) or (is_last and self.lower_order_final and i + 1 < _FEW_STEPS)
            back = 0.0 if first_order else 0.5 * h / (half_log_snr[i] - half_log_snr[i - 1])
            steps.append((LinearStep(t, a, gain * (1.0 + back), 0.0), -gain * back))
        return steps

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        times: Sequence[float],
        path: Path,
        *,
        cond: Any = None,
        generator: torch.Generator | None = None,
        report: StepReport = no_report,
    ) -> Tensor:
        """See `Solver`."""
        steps = self.plan(times, path)
        dtype, x = x.dtype, at_least_float(x)
        before = x
        for number, (step, last_gain) in enumerate(steps, 1):
            x0 = denoiser(x.to(dtype), step.t, cond)
            x = torch.mul(x0, step.b).add_(x, alpha=step.a)
            if last_gain:
                x = x.add_(before, alpha=last_gain)
            before = x0
            report(number, len(steps), x, x0)
        return x.to(dtype)


_FEW_STEPS = 15


def _follow(
    denoiser: Denoiser,
    x: Tensor,
    steps: Sequence[LinearStep],
    cond: Any,
    generator: torch.Generator | None,
    report: StepReport,
) -> Tensor:
    dtype, x = x.dtype, at_least_float(x)
    total = len(steps)
    for number, (t, a, b, c) in enumerate(steps, 1):
        x0 = denoiser(x.to(dtype), t, cond)
        x = torch.mul(x0, b).add_(x, alpha=a)
        if c:
            x = x.add_(noise_like(x, generator), alpha=c)
        report(number, total, x, x0)
    return x.to(dtype)


def _follow_heun(
    denoiser: Denoiser,
    x: Tensor,
    steps: Sequence[HeunStep],
    cond: Any,
    generator: torch.Generator | None,
    report: StepReport,
) -> Tensor:
    dtype, x = x.dtype, at_least_float(x)
    for number, step in enumerate(steps, 1):
        if step.spread:
            x = torch.mul(x, step.lift).add_(noise_like(x, generator), alpha=step.spread)
        x0 = denoiser(x.to(dtype), step.euler.t, cond)
        ahead = torch.mul(x0, step.euler.b).add_(x, alpha=step.euler.a)
        if step.second is None:
            x = ahead
        else:
            x0_ahead = denoiser(ahead.to(dtype), step.second, cond)
            x = torch.mul(x, step.a).add_(x0, alpha=step.b).add_(ahead, alpha=step.c).add_(x0_ahead, alpha=step.d)
            x0 = x0_ahead
        report(number, len(steps), x, x0)
    return x.to(dtype)


def _runge_kutta(times: Sequence[float], path: Path, churn: Churn, *, second_order: bool) -> list[HeunStep]:
    """Steps on dy/ds = (y - x0) / s, where y = x / scale and s = sigma / scale."""
    steps = []
    for start, end in pairwise(_falling(times)):
        t, lift, spread = churn.lifted(start, path, len(times) - 1)
        scale_t, scale_end = path.scale(t), path.scale(end)
        s_t, s_end = path.sigma(t) / scale_t, path.sigma(end) / scale_end
        euler = LinearStep(t, scale_end * s_end / (s_t * scale_t), scale_end * (1.0 - s_end / s_t), 0.0)
        if not second_order or s_end == 0.0:
            steps.append(HeunStep(lift, spread, euler, None, 0.0, 0.0, 0.0, 0.0))
            continue
        half = 0.5 * (s_end - s_t)
        a, b = scale_end / scale_t * (1.0 + half / s_t), -scale_end * half / s_t
        steps.append(HeunStep(lift, spread, euler, end, a, b, half / s_end, -scale_end * half / s_end))
    return steps


def _posterior_std(t: float, s: float, path: Path) -> float:
    """Standard deviation of q(x_s | x_t, x0) for s before t."""
    sigma_t, sigma_s = path.sigma(t), path.sigma(s)
    forward = max(sigma_t**2 - (path.alpha(t) / path.alpha(s) * sigma_s) ** 2, 0.0)
    return math.sqrt(forward) * sigma_s / sigma_t


def _falling(times: Sequence[float]) -> Sequence[float]:
    _check_times(times, all(t > s for t, s in pairwise(times)), "falling")
    return times


def _rising(times: Sequence[float]) -> Sequence[float]:
    _check_times(times, all(s < t for s, t in pairwise(times)), "rising")
    return times


def _check_times(times: Sequence[float], ordered: bool, direction: str) -> None:
    if len(times) < 2 or not ordered:
        raise RequestError.of("times", tuple(times)[:8], f"at least two strictly {direction} numbers")
