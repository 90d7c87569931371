"""Any noise path as a stochastic differential equation dx = f(t) x dt + g(t) dw, and as an ordinary one.

f = alpha' / alpha and g^2 = (sigma^2)' - 2 f sigma^2 follow from the path's alpha and sigma, so every path has both.
Time is the path's own; a path with equations of its own for them is asked (`Sde`), others are differentiated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.paths import DiscreteVp, Path, TimeT
from bottega.processes.diffusion.predictions import Denoiser, Prediction, at_least_float


@runtime_checkable
class Sde(Protocol):
    """A path that knows its own stochastic differential equation."""

    def drift(self, t: TimeT) -> TimeT:
        """f(t), by which the state is multiplied."""
        ...

    def diffusion_squared(self, t: TimeT) -> TimeT:
        """g(t)^2, the variance that comes in per unit of time."""
        ...


class Rates(NamedTuple):
    """A path at a time: coefficients and their derivatives in time. Floats, or float64 tensors of one shape."""

    alpha: Any
    sigma: Any
    alpha_rate: Any
    sigma_rate: Any

    @property
    def drift(self) -> Any:  # noqa: ANN401 - float or tensor, as the fields
        """f: the logarithmic derivative of alpha. Infinite where alpha vanishes."""
        return self.alpha_rate / self.alpha

    @property
    def diffusion_squared(self) -> Any:  # noqa: ANN401
        """g^2 = 2 sigma (sigma' - f sigma)."""
        return 2.0 * self.sigma * (self.sigma_rate - self.drift * self.sigma)

    @property
    def flow(self) -> tuple[Any, Any]:
        """The factors of x and of x0 in the probability-flow ODE dx/dt = alpha' x0 + sigma' noise.

        This form needs no score, so that it holds where alpha vanishes.
        """
        a = self.sigma_rate / self.sigma
        return a, self.alpha_rate - a * self.alpha


def rates(path: Path, t: TimeT) -> Rates:
    """The path's coefficients and their derivatives at a float, or at each time of a tensor."""
    alpha, sigma = path.alpha(t), path.sigma(t)
    if isinstance(path, Sde):
        drift = path.drift(t)
        return Rates(alpha, sigma, drift * alpha, drift * sigma + 0.5 * path.diffusion_squared(t) / sigma)
    if isinstance(path, DiscreteVp):
        drift = _discrete_slope(path, t)
        return Rates(alpha, sigma, drift * alpha, -drift * alpha * alpha / sigma)
    slopes = _differentiated(path, t if isinstance(t, Tensor) else torch.tensor([t], dtype=torch.float64))
    if isinstance(t, Tensor):
        return Rates(alpha, sigma, *slopes)
    return Rates(alpha, sigma, *(slope.item() for slope in slopes))


def _differentiated(path: Path, t: Tensor) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False), torch.enable_grad():
        times = t.to(torch.float64).clone().requires_grad_()
        curves = path.alpha(times), path.sigma(times)
        return tuple(  # type: ignore[return-value]
            torch.autograd.grad(c.sum(), times)[0] if c.requires_grad else torch.zeros_like(t) for c in curves
        )


def _discrete_slope(path: DiscreteVp, t: TimeT) -> TimeT:
    """Slope of the piece of log(alpha) that ends at t (log(alpha) is linear between whole indices)."""
    if isinstance(t, Tensor):
        ends = t.to(torch.float64).ceil().clamp(0.0, path.t_max)
        return path.log_alpha(ends) - path.log_alpha(ends - 1.0)
    end = float(min(max(math.ceil(t), 0), path.t_max))
    return path.log_alpha(end) - path.log_alpha(end - 1.0)


@final
@dataclass(frozen=True, slots=True)
class ProbabilityFlow:
    """The probability-flow ODE of a denoiser: `(t, x) -> dx/dt`. It has the same marginals as the SDE.

    Args:
        denoiser: `(x_t, t, cond) -> x0`.
        path: The path that it works on.
        cond: Handed to the denoiser as it is.

    Source: arXiv:2011.13456 equation 13, written without the score (see `Rates.flow`).
    """

    denoiser: Denoiser
    path: Path
    cond: Any = None

    def __call__(self, t: float, x: Tensor) -> Tensor:
        """The velocity at a state `(b, ...)`."""
        a, b = rates(self.path, t).flow
        x0 = at_least_float(self.denoiser(x, t, self.cond))
        return torch.mul(x0, b).add(x, alpha=a)


def score_of(x0: Tensor, x: Tensor, alpha: float, sigma: float) -> Tensor:
    """The score (alpha x0 - x) / sigma^2 that a denoised sample stands for (Tweedie's formula)."""
    return torch.mul(x0, alpha / (sigma * sigma)).sub_(x, alpha=1.0 / (sigma * sigma))


@final
@dataclass(frozen=True, slots=True)
class LikelihoodWeighting:
    """g(t)^2 on the squared error of the score: the loss then bounds the negative log-likelihood.

    Args:
        path: The path that is trained on: it knows the time, and so g, of a noise level.

    Source: arXiv:2101.09258 theorem 1; `training.likelihood_weighting` of arXiv:2011.13456's code.
    """

    path: Path

    def __call__(self, alpha: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
        """The weight on the output's squared error."""
        t = self.path.time_of_log_snr(2.0 * (alpha.log() - sigma.log()))
        power = rates(self.path, t).diffusion_squared
        return power * (alpha / sigma**2) ** 2 / prediction.error_factor(alpha, sigma)


def require_signal(path: Path, t: float, what: str) -> None:
    """Refuses a time of pure noise to what divides by alpha.

    Raises:
        RequestError: alpha is 0 at `t`.
    """
    if path.alpha(t) == 0.0:
        fix = "start a little earlier (t_max=0.999), or use a solver that takes pure noise, such as Ddim or Euler"
        raise RequestError.of(f"the time that {what} starts at", t, "one with some signal left", fix)
