"""The noise paths of score SDEs beside VP: variance exploding, and the sub-VP with its smaller noise.

Both know their own drift and diffusion (see `bottega.processes.diffusion.sde`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.paths import TimeT, Vp


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class VeGeometric:
    """The variance-exploding SDE: alpha is 1, sigma(t) = sigma_min (sigma_max / sigma_min)^t for 0 < t <= 1.

    At t = 0 and before, sigma is 0 as in the paper: the path jumps from sigma_min to clean data. Noise levels below
    sigma_min have no time of their own and count as t_min; levels above sigma_max lie beyond t = 1.

    Args:
        sigma_min: Smallest noise level, above 0.
        sigma_max: Largest noise level: about the largest distance between two data points. CIFAR-10: 50, 256-pixel
            LSUN and FFHQ: 378 and 348, 1024-pixel FFHQ: 1348.
        t_min: Smallest trained time.

    Source: arXiv:2011.13456 appendix C; sizes from the authors' configurations.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    t_min: float = 1e-5

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            allowed = "0 < sigma_min < sigma_max"
            raise RequestError.of("sigma_min, sigma_max", (self.sigma_min, self.sigma_max), allowed)
        if not 0 < self.t_min < 1:
            raise RequestError.of("t_min", self.t_min, "between 0 and 1")

    @property
    def t_max(self) -> float:
        """The noisiest time, 1."""
        return 1.0

    @property
    def t_clean(self) -> float:
        """The time of pure data, 0."""
        return 0.0

    @property
    def log_ratio(self) -> float:
        """log(sigma_max / sigma_min)."""
        return math.log(self.sigma_max / self.sigma_min)

    def alpha(self, t: TimeT) -> TimeT:
        """One."""
        return 1.0 + 0.0 * _wide(t)

    def sigma(self, t: TimeT) -> TimeT:
        """Geometric in time; 0 at the clean end."""
        return _above_zero(t, self.sigma_min * _exp(self.log_ratio * _wide(t)), 0.0)

    def log_snr(self, t: TimeT) -> TimeT:
        """-2 log(sigma), a line; infinite at the clean end."""
        return _above_zero(t, -2.0 * (math.log(self.sigma_min) + self.log_ratio * _wide(t)), math.inf)

    def time_of_log_snr(self, log_snr: TimeT) -> TimeT:
        """The inverse of `log_snr`, at least t_min."""
        t = (-0.5 * _wide(log_snr) - math.log(self.sigma_min)) / self.log_ratio
        return t.clamp(min=self.t_min) if isinstance(t, Tensor) else max(t, self.t_min)

    def scale(self, t: TimeT) -> TimeT:
        """One."""
        return self.alpha(t)

    def training_time(self, u: Tensor) -> Tensor:
        """Even between t_min and 1."""
        return self.t_min + u.to(torch.float64) * (1.0 - self.t_min)

    def drift(self, t: TimeT) -> TimeT:
        """Zero."""
        return 0.0 * _wide(t)

    def diffusion_squared(self, t: TimeT) -> TimeT:
        """2 sigma^2 log(sigma_max / sigma_min)."""
        sigma = self.sigma(t)
        return 2.0 * self.log_ratio * sigma * sigma


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SubVp:
    """The sub-VP SDE: alpha as in `Vp`, but sigma = 1 - alpha^2, which is at most VP's. 0 <= t <= 1.

    Args:
        beta_min: beta(0), above 0.
        beta_max: beta(1), above `beta_min`.
        t_min: Smallest trained time.

    Source: arXiv:2011.13456 equation 29 and appendix B.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: float = 1e-3

    def __post_init__(self) -> None:
        _ = self.vp  # checks the same values

    @property
    def vp(self) -> Vp:
        """The VP path with the same signal."""
        return Vp(beta_min=self.beta_min, beta_max=self.beta_max, t_min=self.t_min)

    @property
    def t_max(self) -> float:
        """The noisiest time, 1."""
        return 1.0

    @property
    def t_clean(self) -> float:
        """The time of pure data, 0."""
        return 0.0

    def alpha(self, t: TimeT) -> TimeT:
        """E to the power of minus half the integral of beta."""
        return _exp(self.vp.log_alpha(t))

    def sigma(self, t: TimeT) -> TimeT:
        """1 - alpha^2."""
        return -_expm1(2.0 * self.vp.log_alpha(t))

    def log_snr(self, t: TimeT) -> TimeT:
        """2 log(alpha / (1 - alpha^2))."""
        return 2.0 * (self.vp.log_alpha(t) - _log(self.sigma(t)))

    def time_of_log_snr(self, log_snr: TimeT) -> TimeT:
        """The inverse: 2 sinh(-log(alpha)) = sigma / alpha."""
        return self.vp.time_of_log_alpha(-_asinh(0.5 * _exp(-0.5 * _wide(log_snr))))

    def scale(self, t: TimeT) -> TimeT:
        """alpha, as in `Vp`."""
        return self.alpha(t)

    def training_time(self, u: Tensor) -> Tensor:
        """Even between t_min and 1."""
        return self.vp.training_time(u)

    def drift(self, t: TimeT) -> TimeT:
        """-beta(t) / 2."""
        return -0.5 * (self.beta_min + _wide(t) * (self.beta_max - self.beta_min))

    def diffusion_squared(self, t: TimeT) -> TimeT:
        """beta(t) (1 - alpha^4)."""
        return self.drift(t) * _expm1(4.0 * self.vp.log_alpha(t)) * 2.0


def _wide(t: TimeT) -> TimeT:
    if isinstance(t, Tensor):
        return t.to(torch.float64)
    return float(t)


def _above_zero(t: TimeT, inside: TimeT, outside: float) -> TimeT:
    """`inside` where t is above 0, else `outside`."""
    if isinstance(t, Tensor):
        return torch.where(t > 0, inside, outside)
    return inside if t > 0 else inside * 0.0 + outside


def _either(x: TimeT, number: Callable[[float], float], tensor: Callable[[Tensor], Tensor]) -> TimeT:
    if isinstance(x, Tensor):
        return tensor(x)
    return number(x)


def _exp(x: TimeT) -> TimeT:
    return _either(x, math.exp, torch.exp)


def _expm1(x: TimeT) -> TimeT:
    return _either(x, math.expm1, torch.expm1)


def _asinh(x: TimeT) -> TimeT:
    return _either(x, math.asinh, torch.asinh)


def _log(x: TimeT) -> TimeT:
    return _either(x, lambda number: math.log(number) if number > 0 else -math.inf, torch.log)
