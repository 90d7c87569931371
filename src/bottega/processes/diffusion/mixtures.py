"""Mixtures of Gaussians: data whose density, score, denoiser and posterior are known exactly, at every noise level."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.paths import Path


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GaussianMixture:
    """A mixture of Gaussians over vectors.

    Args:
        weights: Share of each component, `(components,)`, adding up to 1.
        means: `(components, dim)`.
        covariances: `(components, dim, dim)`, symmetric and positive definite.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __post_init__(self) -> None:
        count, dim = self.means.shape
        if self.weights.shape != (count,) or self.covariances.shape != (count, dim, dim):
            shapes = (tuple(self.weights.shape), tuple(self.means.shape), tuple(self.covariances.shape))
            raise RequestError.of("shapes", shapes, "(k,), (k, d) and (k, d, d)")
        if not torch.isclose(self.weights.sum(), torch.ones((), dtype=self.weights.dtype)):
            raise RequestError.of("weights", self.weights.tolist(), "shares that add up to 1")

    @classmethod
    def isotropic(cls, weights: list[float], means: list[list[float]], stds: list[float]) -> GaussianMixture:
        """Round components with these standard deviations, in double."""
        centres = torch.tensor(means, dtype=torch.float64)
        scales = torch.tensor(stds, dtype=torch.float64) ** 2
        covariances = scales[:, None, None] * torch.eye(centres.shape[1], dtype=torch.float64)
        return cls(weights=torch.tensor(weights, dtype=torch.float64), means=centres, covariances=covariances)

    @classmethod
    def two_modes(cls) -> GaussianMixture:
        """0.8 N((5, 5), I) + 0.2 N((-5, -5), I): the toy of arXiv:1907.05600, section 3.2."""
        return cls.isotropic([0.8, 0.2], [[5.0, 5.0], [-5.0, -5.0]], [1.0, 1.0])

    @property
    def dim(self) -> int:
        """Numbers in a sample."""
        return self.means.shape[1]

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Exact samples `(count, dim)`."""
        kinds = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn((count, self.dim), generator=generator, dtype=self.means.dtype)
        roots = torch.linalg.cholesky(self.covariances)[kinds]
        return self.means[kinds] + (roots @ noise[..., None])[..., 0]

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density in nats of points `(batch, dim)`, `(batch,)`."""
        return torch.logsumexp(self._log_joint(x), dim=1)

    def shares(self, x: Tensor) -> Tensor:
        """Posterior probability of each component at points `(batch, dim)`, `(batch, components)`."""
        return torch.softmax(self._log_joint(x), dim=1)

    def score(self, x: Tensor) -> Tensor:
        """Gradient of the log density at points `(batch, dim)`, of the same shape."""
        return -(self.shares(x)[..., None] * self._whitened(x)).sum(1)

    def at(self, t: float, path: Path) -> GaussianMixture:
        """The mixture that alpha(t) x + sigma(t) noise follows."""
        alpha, sigma = path.alpha(t), path.sigma(t)
        eye = torch.eye(self.dim, dtype=self.means.dtype)
        return GaussianMixture(
            weights=self.weights, means=alpha * self.means, covariances=alpha**2 * self.covariances + sigma**2 * eye
        )

    def denoiser(self, path: Path) -> ExactDenoiser:
        """The exact `Denoiser` of this data on a path."""
        return ExactDenoiser(self, path)

    def posterior(self, operator: Tensor, measured: Tensor, noise_std: float) -> GaussianMixture:
        """The mixture of x given y = A x + noise.

        Args:
            operator: A, `(measurements, dim)`.
            measured: y, `(measurements,)`.
            noise_std: Standard deviation of the noise, above 0.
        """
        noise = noise_std**2 * torch.eye(len(measured), dtype=self.means.dtype)
        spread = operator @ self.covariances @ operator.T + noise
        gain = self.covariances @ operator.T @ torch.linalg.inv(spread)
        offset = measured - self.means @ operator.T
        evidence = GaussianMixture(weights=self.weights, means=self.means @ operator.T, covariances=spread)
        eye = torch.eye(self.dim, dtype=self.means.dtype)
        return GaussianMixture(
            weights=evidence.shares(measured[None])[0],
            means=self.means + (gain @ offset[..., None])[..., 0],
            covariances=(eye - gain @ operator) @ self.covariances,
        )

    def _whitened(self, x: Tensor) -> Tensor:
        """Inverse covariance times offset from each mean, `(batch, components, dim)`."""
        offset = x.to(self.means.dtype)[:, None] - self.means
        return torch.linalg.solve(self.covariances, offset[..., None])[..., 0]

    def _log_joint(self, x: Tensor) -> Tensor:
        offset = x.to(self.means.dtype)[:, None] - self.means
        distance = (offset * self._whitened(x)).sum(-1)
        volume = torch.logdet(self.covariances) + self.dim * math.log(2 * math.pi)
        return self.weights.log() - 0.5 * (distance + volume)


@dataclass(frozen=True, slots=True, eq=False)
class ExactDenoiser:
    """E[x0 | x_t] of a mixture on a path: what a perfect network would say, in the state's dtype.

    Args:
        mixture: The clean data.
        path: The noise path.
    """

    mixture: GaussianMixture
    path: Path

    def __call__(self, x_t: Tensor, t: float | Tensor, cond: object = None) -> Tensor:
        """The expected clean sample at states `(batch, dim)` and a time for all, or times `(batch,)`."""
        means, covariances = self.mixture.means, self.mixture.covariances
        times = torch.as_tensor(t, dtype=torch.float64).expand(len(x_t))
        alpha, sigma = (
            each.to(means.dtype)[:, None, None] for each in (self.path.alpha(times), self.path.sigma(times))
        )
        eye = torch.eye(self.mixture.dim, dtype=means.dtype)
        spread = alpha[..., None] ** 2 * covariances + sigma[..., None] ** 2 * eye
        offset = x_t.to(means.dtype)[:, None] - alpha * means
        whitened = torch.linalg.solve(spread, offset[..., None])
        log_joint = self.mixture.weights.log() - 0.5 * ((offset * whitened[..., 0]).sum(-1) + torch.logdet(spread))
        inner = means + alpha * (covariances @ whitened)[..., 0]
        return (torch.softmax(log_joint, dim=1)[..., None] * inner).sum(1).to(x_t.dtype)
