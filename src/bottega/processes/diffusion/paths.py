"""Noise paths: the signal alpha(t) and the noise sigma(t) in a state x_t = alpha(t) x0 + sigma(t) noise.

A time is a Python float (the whole batch is at that time: what solvers use, no tensor work and no device
synchronisation) or a float64 tensor (one time for each sample: what training uses). All arithmetic is in double.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, final, runtime_checkable

import torch
from torch import Tensor

from bottega.errors import RequestError

TimeT = TypeVar("TimeT", float, Tensor)


@runtime_checkable
class Path(Protocol):
    """A noise path. Methods map a float to a float and a tensor to a float64 tensor of the same shape."""

    @property
    def t_min(self) -> float:
        """The least noisy time at which a network is trained."""
        ...

    @property
    def t_max(self) -> float:
        """The noisiest time at which a network is trained."""
        ...

    @property
    def t_clean(self) -> float:
        """The time of pure data (alpha 1, sigma 0), where a sampler's trajectory ends."""
        ...

    def alpha(self, t: TimeT) -> TimeT:
        """The signal's factor."""
        ...

    def sigma(self, t: TimeT) -> TimeT:
        """The noise's standard deviation."""
        ...

    def log_snr(self, t: TimeT) -> TimeT:
        """log(alpha^2 / sigma^2): falls from t_min to t_max."""
        ...

    def time_of_log_snr(self, log_snr: TimeT) -> TimeT:
        """The inverse of `log_snr`, kept inside the times that the path has."""
        ...

    def scale(self, t: TimeT) -> TimeT:
        """What a state is divided by so that, in y = x / scale and s = sigma / scale, its ODE is dy/ds = (y - x0) / s.

        alpha (as in EDM) where alpha never vanishes; alpha + sigma (flow matching) where it does.
        """
        ...

    def training_time(self, u: Tensor) -> Tensor:
        """Maps u, uniform in [0, 1), to times that cover the path evenly in its own clock."""
        ...


def _double(t: TimeT) -> TimeT:
    if isinstance(t, Tensor):
        return t.to(torch.float64)
    return float(t)


def _exp(x: TimeT) -> TimeT:
    if isinstance(x, Tensor):
        return torch.exp(x)
    return math.exp(x)


def _log(x: TimeT) -> TimeT:
    if isinstance(x, Tensor):
        return torch.log(x)
    return math.log(x) if x > 0 else -math.inf


def _sqrt(x: TimeT) -> TimeT:
    if isinstance(x, Tensor):
        return torch.sqrt(x)
    return math.sqrt(x)


def _expm1(x: TimeT) -> TimeT:
    if isinstance(x, Tensor):
        return torch.expm1(x)
    return math.expm1(x)


def _cos(x: TimeT) -> TimeT:
    if isinstance(x, Tensor):
        return torch.cos(x)
    return math.cos(x)


def _arccos(x: TimeT) -> TimeT:
    if isinstance(x, Tensor):
        return torch.arccos(x)
    return math.acos(x)


def _log1p_exp(x: TimeT) -> TimeT:
    """log(1 + e^x) without overflow."""
    if isinstance(x, Tensor):
        return torch.logaddexp(x, torch.zeros_like(x))
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _clamp(x: TimeT, low: float, high: float) -> TimeT:
    if isinstance(x, Tensor):
        return x.clamp(low, high)
    return min(max(x, low), high)


class VariancePreserving(ABC):
    """The paths with alpha^2 + sigma^2 = 1, each given by log(alpha) as a falling function of time."""

    @abstractmethod
    def log_alpha(self, t: TimeT) -> TimeT:
        """log(alpha), at most 0."""

    @abstractmethod
    def time_of_log_alpha(self, log_alpha: TimeT) -> TimeT:
        """The inverse of `log_alpha`."""

    def alpha(self, t: TimeT) -> TimeT:
        """The signal's factor, 1 at the clean end."""
        return _exp(self.log_alpha(t))

    def sigma(self, t: TimeT) -> TimeT:
        """sqrt(1 - alpha^2)."""
        return _sqrt(-_expm1(2.0 * self.log_alpha(t)))

    def log_snr(self, t: TimeT) -> TimeT:
        """log(alpha^2 / sigma^2)."""
        log_alpha = self.log_alpha(t)
        return 2.0 * log_alpha - _log(-_expm1(2.0 * log_alpha))

    def time_of_log_snr(self, log_snr: TimeT) -> TimeT:
        """The inverse of `log_snr`: alpha^2 = sigmoid(log_snr)."""
        return self.time_of_log_alpha(-0.5 * _log1p_exp(-_double(log_snr)))

    def scale(self, t: TimeT) -> TimeT:
        """alpha: a VP state over alpha is an EDM state."""
        return self.alpha(t)


@final
@dataclass(frozen=True, slots=True)
class DiscreteVp(VariancePreserving):
    """The N-step path of DDPM and Stable Diffusion. Time is the step's index, possibly fractional.

    Index 0 is the least noisy trained step (`alphas_cumprod[0]` of diffusers) and N - 1 the noisiest. log(alpha) is
    linear between integers. Index -1 is clean data. Index N and above is pure noise (alpha 0, sigma 1): UniDiffuser's
    "max timestep" of a modality that says nothing. Times between N - 1 and N count as N - 1.

    Args:
        betas: Variance added in each step, each inside (0, 1), or up to 1 in the last (zero terminal SNR).

    Source: arXiv:2006.11239 section 2; UniDiffuser arXiv:2303.06555 section 3.
    """

    betas: tuple[float, ...]
    _log_alphas: tuple[float, ...] = field(init=False, repr=False, compare=False)
    _tables: dict[torch.device, Tensor] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        betas = tuple(float(beta) for beta in self.betas)
        if not betas:
            raise RequestError.of("betas", betas, "at least one number")
        for index, beta in enumerate(betas):
            highest_is_in = beta == 1.0 and index == len(betas) - 1
            if not (0.0 < beta < 1.0 or highest_is_in):
                raise RequestError.of(f"betas[{index}]", beta, "between 0 and 1", "only the last may be 1")
        log_alphas = [0.0]
        for beta in betas:
            log_alphas.append(log_alphas[-1] + 0.5 * (math.log1p(-beta) if beta < 1.0 else -math.inf))
        object.__setattr__(self, "betas", betas)
        object.__setattr__(self, "_log_alphas", tuple(log_alphas))

    @classmethod
    def linear(cls, steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> DiscreteVp:
        """DDPM's schedule: betas evenly spaced. Source: arXiv:2006.11239 section 4."""
        return cls(tuple(_linspace(beta_start, beta_end, steps)))

    @classmethod
    def scaled_linear(cls, steps: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012) -> DiscreteVp:
        """Stable Diffusion's schedule: square roots of the betas evenly spaced. Source: arXiv:2112.10752 code."""
        return cls(tuple(root**2 for root in _linspace(math.sqrt(beta_start), math.sqrt(beta_end), steps)))

    @classmethod
    def cosine(cls, steps: int = 1000, offset: float = 0.008, beta_max: float = 0.999) -> DiscreteVp:
        """Nichol and Dhariwal's squared cosine, betas capped. Source: arXiv:2102.09672 equation 17."""

        def alpha_bar(u: float) -> float:
            return math.cos((u + offset) / (1 + offset) * math.pi / 2) ** 2

        return cls(tuple(min(1 - alpha_bar((i + 1) / steps) / alpha_bar(i / steps), beta_max) for i in range(steps)))

    @property
    def steps(self) -> int:
        """N, the number of trained steps."""
        return len(self.betas)

    @property
    def t_min(self) -> float:
        """Index of the least noisy trained step."""
        return 0.0

    @property
    def t_max(self) -> float:
        """Index of the noisiest trained step, N - 1."""
        return float(self.steps - 1)

    @property
    def t_clean(self) -> float:
        """Index of pure data."""
        return -1.0

    def log_alpha(self, t: TimeT) -> TimeT:
        """log(alpha) at an index, linear between integers; minus infinity from N on."""
        last = self.steps - 1
        if not isinstance(t, Tensor):
            if t >= self.steps:
                return -math.inf
            place = min(max(float(t), -1.0), last) + 1.0
            low = int(place)
            value, part = self._log_alphas[low], place - low
            return value + part * (self._log_alphas[low + 1] - value) if part else value
        table = self._table(t.device)
        place = t.to(torch.float64).clamp(-1.0, last) + 1.0
        low = place.floor()
        value = table[low.long()]
        part = place - low
        between = value + part * (table[place.ceil().long()] - value)
        inside = torch.where(part > 0, between, value)
        return torch.where(t >= self.steps, -math.inf, inside)

    def time_of_log_alpha(self, log_alpha: TimeT) -> TimeT:
        """The index, between -1 and N - 1, at which log(alpha) has this value."""
        if not isinstance(log_alpha, Tensor):
            low = bisect_right(self._log_alphas, -log_alpha, key=lambda value: -value) - 1
            low = min(max(low, 0), self.steps - 1)
            value, step = self._log_alphas[low], self._log_alphas[low + 1] - self._log_alphas[low]
            return low - 1.0 + _clamp((log_alpha - value) / step, 0.0, 1.0)
        table = self._table(log_alpha.device)
        wanted = log_alpha.to(torch.float64)
        low = (torch.searchsorted(-table, -wanted, right=True) - 1).clamp(0, self.steps - 1)
        value = table[low]
        return low - 1.0 + ((wanted - value) / (table[low + 1] - value)).clamp(0.0, 1.0)

    def training_time(self, u: Tensor) -> Tensor:
        """Whole indices 0 ... N - 1, all alike."""
        return (u.to(torch.float64) * self.steps).floor().clamp(0.0, self.t_max)

    def _table(self, device: torch.device) -> Tensor:
        if device not in self._tables:
            self._tables[device] = torch.tensor(self._log_alphas, dtype=torch.float64, device=device)
        return self._tables[device]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Vp(VariancePreserving):
    """The continuous VP-SDE with beta(t) linear in t, 0 <= t <= 1.

    Args:
        beta_min: beta(0), above 0.
        beta_max: beta(1), above `beta_min`.
        t_min: Smallest trained time.

    Source: arXiv:2011.13456 equation 32.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.beta_min < self.beta_max < math.inf:
            raise RequestError.of("beta_min, beta_max", (self.beta_min, self.beta_max), "0 < beta_min < beta_max")
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

    def log_alpha(self, t: TimeT) -> TimeT:
        """-(beta_max - beta_min) t^2 / 4 - beta_min t / 2."""
        t = _double(t)
        return -0.25 * (self.beta_max - self.beta_min) * t * t - 0.5 * self.beta_min * t

    def time_of_log_alpha(self, log_alpha: TimeT) -> TimeT:
        """The positive root of the quadratic, in the form that does not cancel."""
        root = _sqrt(self.beta_min**2 - 4.0 * (self.beta_max - self.beta_min) * log_alpha)
        return -4.0 * log_alpha / (root + self.beta_min)

    def training_time(self, u: Tensor) -> Tensor:
        """Even between t_min and 1."""
        return _between(u, self.t_min, self.t_max)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CosineVp(VariancePreserving):
    """The continuous squared-cosine path, 0 <= t <= 1.

    Args:
        offset: Nichol and Dhariwal's s; 0 gives alpha = cos(pi t / 2).
        t_min: Smallest trained time.
        t_max: Noisiest time, below 1, where alpha would vanish. The default is DPM-Solver's.

    Source: arXiv:2102.09672 equation 17; arXiv:2206.00927 appendix D.4.
    """

    offset: float = 0.008
    t_min: float = 1e-3
    t_max: float = 0.9946

    def __post_init__(self) -> None:
        if not 0 <= self.offset < math.inf:
            raise RequestError.of("offset", self.offset, "at least 0")
        if not 0 < self.t_min < self.t_max < 1:
            raise RequestError.of("t_min, t_max", (self.t_min, self.t_max), "0 < t_min < t_max < 1")

    @property
    def t_clean(self) -> float:
        """The time of pure data, 0."""
        return 0.0

    def _log_cos_start(self) -> float:
        return math.log(math.cos(self.offset / (1 + self.offset) * math.pi / 2))

    def log_alpha(self, t: TimeT) -> TimeT:
        """log(cos((t + s) / (1 + s) pi / 2)), less its value at 0."""
        angle = (_clamp(_double(t), 0.0, self.t_max) + self.offset) * (math.pi / 2 / (1 + self.offset))
        return _clamp(_log(_cos(angle)) - self._log_cos_start(), -math.inf, 0.0)

    def time_of_log_alpha(self, log_alpha: TimeT) -> TimeT:
        """The inverse, by the arc cosine."""
        cosine = _clamp(_exp(log_alpha + self._log_cos_start()), 0.0, 1.0)
        return _clamp(_arccos(cosine) * (2 / math.pi * (1 + self.offset)) - self.offset, 0.0, self.t_max)

    def training_time(self, u: Tensor) -> Tensor:
        """Even between t_min and t_max."""
        return _between(u, self.t_min, self.t_max)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Edm:
    """Karras et al.'s path: alpha is 1 and time is the noise level sigma itself.

    Args:
        sigma_min: Smallest trained noise level.
        sigma_max: Largest noise level.

    Source: arXiv:2206.00364 table 1.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            allowed = "0 < sigma_min < sigma_max"
            raise RequestError.of("sigma_min, sigma_max", (self.sigma_min, self.sigma_max), allowed)

    @property
    def t_min(self) -> float:
        """sigma_min."""
        return self.sigma_min

    @property
    def t_max(self) -> float:
        """sigma_max."""
        return self.sigma_max

    @property
    def t_clean(self) -> float:
        """The noise level of pure data, 0."""
        return 0.0

    def alpha(self, t: TimeT) -> TimeT:
        """One."""
        return 1.0 + 0.0 * _double(t)

    def sigma(self, t: TimeT) -> TimeT:
        """The time itself."""
        return _double(t)

    def log_snr(self, t: TimeT) -> TimeT:
        """-2 log(sigma)."""
        return -2.0 * _log(_double(t))

    def time_of_log_snr(self, log_snr: TimeT) -> TimeT:
        """exp(-log_snr / 2); any noise level, also beyond sigma_max."""
        return _exp(-0.5 * _double(log_snr))

    def scale(self, t: TimeT) -> TimeT:
        """One."""
        return self.alpha(t)

    def training_time(self, u: Tensor) -> Tensor:
        """Even in log(sigma) between sigma_min and sigma_max."""
        return torch.exp(_between(u, math.log(self.sigma_min), math.log(self.sigma_max)))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RectifiedFlow:
    """The straight path of flow matching: alpha = 1 - t, sigma = t, 0 <= t <= 1; t = 1 is pure noise.

    Args:
        t_min: Smallest trained time. Above 0 for grids in log-SNR.
        t_max: Largest trained time. Below 1 for grids in log-SNR.

    Source: arXiv:2209.03003; the direction of time as in arXiv:2403.03206.
    """

    t_min: float = 0.0
    t_max: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.t_min < self.t_max <= 1:
            raise RequestError.of("t_min, t_max", (self.t_min, self.t_max), "0 <= t_min < t_max <= 1")

    @property
    def t_clean(self) -> float:
        """The time of pure data, 0."""
        return 0.0

    def alpha(self, t: TimeT) -> TimeT:
        """1 - t."""
        return 1.0 - _double(t)

    def sigma(self, t: TimeT) -> TimeT:
        """The time itself."""
        return _double(t)

    def log_snr(self, t: TimeT) -> TimeT:
        """2 log((1 - t) / t)."""
        t = _double(t)
        return 2.0 * (_log(1.0 - t) - _log(t))

    def time_of_log_snr(self, log_snr: TimeT) -> TimeT:
        """1 / (1 + exp(log_snr / 2))."""
        return _exp(-_log1p_exp(0.5 * _double(log_snr)))

    def scale(self, t: TimeT) -> TimeT:
        """The sum alpha + sigma, which is one: alpha vanishes at t = 1."""
        return 1.0 + 0.0 * _double(t)

    def training_time(self, u: Tensor) -> Tensor:
        """Even between t_min and t_max."""
        return _between(u, self.t_min, self.t_max)


def _between(u: Tensor, low: float, high: float) -> Tensor:
    return low + u.to(torch.float64) * (high - low)


def _linspace(start: float, end: float, count: int) -> list[float]:
    return torch.linspace(start, end, count, dtype=torch.float64).tolist()
