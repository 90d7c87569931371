"""The Schroedinger bridge between two normal distributions in closed form: an oracle for tests and demonstrations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bottega.errors import RequestError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GaussianBridge:
    """The bridge whose reference is Brownian motion over times 0 to 1.

    Args:
        mean_start: `(d,)`, double.
        mean_end: `(d,)`.
        cov_start: `(d, d)`, positive definite.
        cov_end: `(d, d)`.
        variance: Variance of the reference's noise over the whole time, above 0.

    Source: arXiv:2202.05722 theorem 3; arXiv:2006.02572 theorem 1.
    """

    mean_start: Tensor
    mean_end: Tensor
    cov_start: Tensor
    cov_end: Tensor
    variance: float

    def __post_init__(self) -> None:
        if not self.variance > 0:
            raise RequestError.of("variance", self.variance, "above 0")

    @property
    def coupling(self) -> Tensor:
        """Covariance of the start with the end, `(d, d)`."""
        root = _root(self.cov_start)
        eye = torch.eye(len(root), dtype=root.dtype)
        middle = _root(4 * root @ self.cov_end @ root + self.variance**2 * eye)
        return 0.5 * (root @ middle @ torch.linalg.inv(root) - self.variance * eye)

    def marginal(self, t: float) -> tuple[Tensor, Tensor]:
        """Mean and covariance at a time between 0 and 1."""
        cross = self.coupling
        eye = torch.eye(len(cross), dtype=cross.dtype)
        cov = (1 - t) ** 2 * self.cov_start + t**2 * self.cov_end
        cov = cov + t * (1 - t) * (cross + cross.T + self.variance * eye)
        return (1 - t) * self.mean_start + t * self.mean_end, cov


def _root(matrix: Tensor) -> Tensor:
    """The symmetric square root."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
