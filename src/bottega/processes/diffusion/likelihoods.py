"""Bayes' rule for denoisers: guidance by any likelihood, with one prior and no training.

The score of p(x_t | y) is the score of p(x_t) plus the gradient of log p(y | x_t). In the words of a denoiser that is
x0 + (sigma^2 / alpha) grad log p(y | x_t), on any path, whatever the network predicts; the solver does not change.

log p(y | x_t) is known as such (a classifier of noisy states), or comes from log p(y | x0) and an idea of how far x0
still is from the truth: `Isotropic`, one variance for all directions, or `Tweedie`, the denoiser's own covariance
(sigma^2 / alpha) d x0 / d x_t, which costs a backward pass and is exact. Source: arXiv:2011.13456 section 5.

Nothing is guided where alpha is 0: a state of pure noise says nothing about y. What a likelihood returns carries no
gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.operators import LinearOperator, conjugate_gradients, inner
from bottega.processes.diffusion.paths import Path
from bottega.processes.diffusion.predictions import Coefficient, Denoiser, Time, coefficients_like

LogLikelihood = Callable[[Tensor, Time], Tensor]
"""States `(b, ...)` and their time to log p(y | state), `(b,)`; differentiable in the states."""


class Glance(NamedTuple):
    """The denoiser at one state: x0, and the product of a vector with the covariance of what x0 leaves open."""

    x0: Tensor
    spread: Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Isotropic:
    """The covariance of x0 given x_t as r^2 for all directions, r^2 = v sigma^2 / (v alpha^2 + sigma^2).

    Exact for round Gaussian data of variance v. Source: Song et al., Pseudoinverse-guided diffusion
    models for inverse problems, ICLR 2023 (PiGDM), section 3.

    Args:
        data_variance: v, above 0.
    """

    data_variance: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.data_variance < math.inf:
            raise RequestError.of("data_variance", self.data_variance, "above 0 and finite")

    def variance(self, alpha: Coefficient, sigma: Coefficient) -> Coefficient:
        """r^2."""
        return self.data_variance * sigma**2 / (self.data_variance * alpha**2 + sigma**2)

    def glance(self, denoiser: Denoiser, x_t: Tensor, t: Time, cond: Any, path: Path) -> Glance:
        """One call of the denoiser, nothing differentiated."""
        alpha, sigma = _coefficients(x_t, t, path)
        variance = self.variance(alpha, sigma)
        with torch.no_grad():
            return Glance(denoiser(x_t, t, cond), lambda vector: variance * vector)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Tweedie:
    """The covariance of x0 given x_t by the denoiser itself, (sigma^2 / alpha) d x0 / d x_t: a backward pass a product.

    Exact for any data when the denoiser is. Source: arXiv:2310.06721 section 3 (Tweedie's formula, second order).
    """

    def glance(self, denoiser: Denoiser, x_t: Tensor, t: Time, cond: Any, path: Path) -> Glance:
        """One call of the denoiser that is kept for differentiation."""
        alpha, sigma = _coefficients(x_t, t, path)
        gain = _gain(alpha, sigma)
        with torch.inference_mode(False), torch.enable_grad():
            state = x_t.detach().clone().requires_grad_()
            x0 = denoiser(state, t, cond)

        def spread(vector: Tensor) -> Tensor:
            return gain * torch.autograd.grad(x0, state, vector.to(x0.dtype), retain_graph=True)[0]

        return Glance(x0, spread)


Covariance = Isotropic | Tweedie


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class NoisyLikelihood:
    """Guidance by a likelihood of noisy states, such as a classifier trained on all noise levels.

    Args:
        log_likelihood: log p(y | x_t) at x_t and t.
        path: The denoiser's path.
        scale: Power that the likelihood is raised to; 1 is Bayes' rule, 0 the prior.

    Source: arXiv:2011.13456 section 5; arXiv:2105.05233 section 4 for scales above 1.
    """

    log_likelihood: LogLikelihood
    path: Path
    scale: float = 1.0

    def __post_init__(self) -> None:
        _check_scale(self.scale)

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """The guided denoiser."""

        def guided(x_t: Tensor, t: Time, cond: Any = None) -> Tensor:
            gain = _gain(*_coefficients(x_t, t, self.path))
            return denoiser(x_t, t, cond) + self.scale * gain * _gradient(self.log_likelihood, x_t, t)

        return guided


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CleanLikelihood:
    """Guidance by a likelihood of clean samples, evaluated at the expected x0: any differentiable log p(y | x0).

    log p(y | x_t) is taken as log p(y | x0(x_t)): exact where log p(y | x0) is linear over what x0 leaves open.

    Args:
        log_likelihood: log p(y | x0); it is handed x0 and t, so that it may be less sure at noisy times.
        path: The denoiser's path.
        scale: Power that the likelihood is raised to.
        carry: How a pull on x0 becomes a change of x0: through the network (diffusion posterior sampling), or by one
            variance for all directions, which needs no backward pass of the network.

    Source: arXiv:2209.14687 (DPS) equation 11; arXiv:2302.07121 (universal guidance) section 3.
    """

    log_likelihood: LogLikelihood
    path: Path
    scale: float = 1.0
    carry: Covariance = Tweedie()

    def __post_init__(self) -> None:
        _check_scale(self.scale)

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """The guided denoiser."""

        def guided(x_t: Tensor, t: Time, cond: Any = None) -> Tensor:
            seen = self.carry.glance(denoiser, x_t, t, cond, self.path)
            pull = _gradient(self.log_likelihood, seen.x0, t)
            return seen.x0.detach() + self.scale * seen.spread(pull)

        return guided


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LinearGaussian:
    """Guidance by a measurement y = A x0 + noise_std noise.

    With C the covariance of x0 given x_t, the expected x0 moves to x0 + C A^T (A C A^T + noise_std^2)^-1 (y - A x0), a
    Kalman filter's step. Two ideas of C may differ: `certainty` inside the inverse, `carry` in front of it.

    | certainty | carry | method |
    |---|---|---|
    | Isotropic | Isotropic | DDNM+ (DDNM for noise 0): x0 is projected onto what was measured |
    | Isotropic | Tweedie | PiGDM, pseudo-inverse guidance |
    | Tweedie | Tweedie | the exact posterior for Gaussian data; the inverse by conjugate gradients |

    Args:
        operator: A.
        measured: y, `(b, ...)` or of one item for all.
        noise_std: Standard deviation of the measurement's noise; above 0 where `certainty` is `Tweedie`.
        path: The denoiser's path.
        certainty: C inside the inverse.
        carry: C in front of it.
        scale: Strength; 1 is Bayes' rule.
        iterations: Most conjugate gradients, each a backward pass of the network, where `certainty` is `Tweedie`.

    Source: arXiv:2212.00490 (DDNM) section 3.3; PiGDM (ICLR 2023) section 3; arXiv:2310.06721 section 3.
    """

    operator: LinearOperator
    measured: Tensor
    noise_std: float
    path: Path
    certainty: Covariance = Isotropic()
    carry: Covariance = Tweedie()
    scale: float = 1.0
    iterations: int = 20

    def __post_init__(self) -> None:
        _check_scale(self.scale)
        lowest = "above 0 for a Tweedie certainty" if isinstance(self.certainty, Tweedie) else "at least 0"
        if not 0 <= self.noise_std < math.inf or (self.noise_std == 0 and isinstance(self.certainty, Tweedie)):
            raise RequestError.of("noise_std", self.noise_std, f"{lowest} and finite")

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """The guided denoiser."""

        def guided(x_t: Tensor, t: Time, cond: Any = None) -> Tensor:
            way = Tweedie() if isinstance(self.certainty, Tweedie) else self.carry
            seen = way.glance(denoiser, x_t, t, cond, self.path)
            with torch.no_grad():
                x0 = seen.x0.detach()
                surprise = self.measured.to(x0.device) - self.operator.forward(x0)
                alpha, sigma = _coefficients(x0, t, self.path)
                push = self.operator.adjoint(self._weighed(surprise, seen, alpha, sigma))
                if isinstance(self.carry, Isotropic):
                    return x0 + self.scale * self.carry.variance(alpha, sigma) * push
            return x0 + self.scale * seen.spread(push)

        return guided

    def _weighed(self, surprise: Tensor, seen: Glance, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """(A C A^T + noise_std^2)^-1 (y - A x0)."""
        noise = self.noise_std**2
        if isinstance(self.certainty, Isotropic):
            variance = self.certainty.variance(alpha, sigma)
            if isinstance(variance, Tensor):
                variance = variance.reshape(-1, *[1] * (surprise.ndim - 1))
            return self.operator.gram_inverse(surprise, noise / variance) / variance
        forward, adjoint = self.operator.forward, self.operator.adjoint
        return conjugate_gradients(
            lambda v: forward(seen.spread(adjoint(v))) + noise * v, surprise, iterations=self.iterations
        )


def gaussian_log_likelihood(operator: LinearOperator, measured: Tensor, noise_std: float) -> LogLikelihood:
    """Log N(y; A x, noise_std^2) without its constant, for `CleanLikelihood`: DPS without a free step size.

    Raises:
        RequestError: `noise_std` is not above 0.
    """
    if not 0 < noise_std < math.inf:
        raise RequestError.of("noise_std", noise_std, "above 0 and finite")

    def log_likelihood(x: Tensor, t: Time) -> Tensor:
        error = measured.to(x.device) - operator.forward(x)
        return -0.5 * inner(error, error) / noise_std**2

    return log_likelihood


def residual_log_likelihood(operator: LinearOperator, measured: Tensor) -> LogLikelihood:
    """-||y - A x||, whose gradient has the length that DPS gives its steps: for noise of unknown size."""

    def log_likelihood(x: Tensor, t: Time) -> Tensor:
        error = measured.to(x.device) - operator.forward(x)
        return -inner(error, error).clamp_min(torch.finfo(torch.float32).tiny).sqrt()

    return log_likelihood


def _gradient(log_likelihood: LogLikelihood, x: Tensor, t: Time) -> Tensor:
    with torch.inference_mode(False), torch.enable_grad():
        state = x.detach().clone().requires_grad_()
        return torch.autograd.grad(log_likelihood(state, t).sum(), state)[0]


def _coefficients(x: Tensor, t: Time, path: Path) -> tuple[Coefficient, Coefficient]:
    return coefficients_like(x, t, path) if isinstance(t, Tensor) else (path.alpha(t), path.sigma(t))


def _gain(alpha: Coefficient, sigma: Coefficient) -> Coefficient:
    """sigma^2 / alpha; 0 where alpha is 0."""
    if isinstance(alpha, Tensor) or isinstance(sigma, Tensor):
        alpha, sigma = torch.as_tensor(alpha), torch.as_tensor(sigma)
        return torch.where(alpha > 0, sigma**2 / alpha.clamp_min(torch.finfo(alpha.dtype).tiny), 0.0)
    return sigma**2 / alpha if alpha > 0 else 0.0


def _check_scale(scale: float) -> None:
    if not math.isfinite(scale):
        raise RequestError.of("scale", scale, "a finite number", "1 is Bayes' rule")
