"""Consistency functions: denoisers that are exactly the identity on clean data, by how they are put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion import Denoiser, DiscreteVp, Path, Time
from bottega.processes.distillation.steps import rows_like


class Boundary(Protocol):
    """How much of f(x, t) = skip x + out x0(x, t) is the state itself."""

    def __call__(self, t: Tensor, path: Path) -> tuple[Tensor, Tensor]:
        """(skip, out) at times `t` of shape (b,), in double; exactly (1, 0) on clean data."""
        ...


@final
@dataclass(frozen=True, slots=True)
class KarrasBoundary:
    """Consistency models' coefficients around an EDM network, for a denoiser of any kind.

    With the noise level s = sigma / alpha a consistency model is f = c_skip y + c_out F in y = x / alpha, where
    c_skip = d^2 / ((s - e)^2 + d^2), c_out = d (s - e) / sqrt(s^2 + d^2), d = sigma_data and e = epsilon; F is EDM's
    raw network. As EDM's denoiser is D = d^2 / (s^2 + d^2) y + s d / sqrt(s^2 + d^2) F, the same f is
    (s - e) / s D + (c_skip - (s - e) / s d^2 / (s^2 + d^2)) y: that is what is computed, so that any D will do.

    Args:
        sigma_data: Standard deviation of the data, above 0.
        epsilon: The noise level at and below which f is the identity, at least 0.

    Source: arXiv:2303.01469 section 3 and appendix C.
    """

    sigma_data: float = 0.5
    epsilon: float = 0.002

    def __post_init__(self) -> None:
        _check(self.sigma_data)
        if not self.epsilon >= 0:
            raise RequestError.of("epsilon", self.epsilon, "at least 0")

    def __call__(self, t: Tensor, path: Path) -> tuple[Tensor, Tensor]:
        """See `Boundary`. Written with alpha and sigma, so that pure noise (alpha 0) divides by nothing."""
        alpha, sigma, data = path.alpha(t), path.sigma(t), self.sigma_data**2
        ahead = (sigma - self.epsilon * alpha).clamp(min=0.0)
        out = torch.where(ahead > 0, ahead / torch.where(sigma == 0, 1.0, sigma), 0.0)
        skip = data * alpha / (ahead**2 + data * alpha**2) - out * data * alpha / (sigma**2 + data * alpha**2)
        return torch.where(ahead > 0, skip, 1.0 / torch.where(ahead > 0, 1.0, alpha)), out


@final
@dataclass(frozen=True, slots=True)
class LcmBoundary:
    """Latent consistency models' coefficients: c_skip = d^2 / (u^2 + d^2), c_out = u / sqrt(u^2 + d^2), u = scaling t.

    t is the index on a discrete path, where f is the identity from index 0 on, and thousandths of the way from clean
    data on any other.

    Args:
        sigma_data: d, above 0.
        timestep_scaling: How steeply f leaves the identity, above 0.

    Source: arXiv:2310.04378 appendix; the numbers are those of the published scheduler.
    """

    sigma_data: float = 0.5
    timestep_scaling: float = 10.0

    def __post_init__(self) -> None:
        _check(self.sigma_data)
        if not self.timestep_scaling > 0:
            raise RequestError.of("timestep_scaling", self.timestep_scaling, "above 0")

    def __call__(self, t: Tensor, path: Path) -> tuple[Tensor, Tensor]:
        """See `Boundary`."""
        t = t.to(torch.float64)
        if isinstance(path, DiscreteVp):
            index = t.clamp(min=0.0)
        else:
            index = 1000.0 * (t - path.t_clean) / (path.t_max - path.t_clean)
        u, data = self.timestep_scaling * index, self.sigma_data**2
        return data / (u**2 + data), u / (u**2 + data).sqrt()


@final
@dataclass(frozen=True, slots=True)
class PlainBoundary:
    """The denoiser itself, and the state where there is no noise: networks of noise or v are right there anyway."""

    def __call__(self, t: Tensor, path: Path) -> tuple[Tensor, Tensor]:
        """See `Boundary`."""
        clean = path.sigma(t) == 0
        return clean.to(torch.float64), (~clean).to(torch.float64)


@final
@dataclass(frozen=True, slots=True)
class ConsistencyFunction:
    """f(x_t, t, cond): the clean end of the trajectory through a state. A `Denoiser`, so every solver works with it.

    Args:
        denoiser: What is trained, as a denoiser.
        path: The noise path.
        boundary: What makes f the identity on clean data.

    Source: arXiv:2303.01469 section 3.
    """

    denoiser: Denoiser
    path: Path
    boundary: Boundary = PlainBoundary()

    def __call__(self, x_t: Tensor, t: Time, cond: Any = None) -> Tensor:
        """The clean sample for states `x_t` and a time for all, or times of shape (b,)."""
        x0 = self.denoiser(x_t, t, cond)
        times = t if isinstance(t, Tensor) else torch.full((1,), t, dtype=torch.float64, device=x_t.device)
        skip, out = (rows_like(part, x0) for part in self.boundary(times, self.path))
        return torch.where(out == 0, skip * x_t, out * x0 + skip * x_t)  # a network may be NaN at sigma 0 (log sigma)


def _check(sigma_data: float) -> None:
    if not sigma_data > 0:
        raise RequestError.of("sigma_data", sigma_data, "above 0")
