"""Distances between two sets of feature vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bottega.errors import RequestError
from bottega.metrics.neighbours import check_sets


def frechet_distance(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> float:
    """The squared Fréchet (2-Wasserstein) distance of the Gaussians with the means and covariances of two sets.

    |mu_a - mu_b|^2 + tr(S_a) + tr(S_b) - 2 tr((S_a S_b)^(1/2)). No matrix square root is taken: with S = R^T R from
    the QR decomposition of the centred features, the last trace is the sum of the singular values of R_a R_b^T. So no
    covariance is squared, nothing becomes complex, and fewer samples than dimensions are no trouble.

    Args:
        a: Features, one row a sample, at least 2 rows.
        b: Features of the other set, at least 2 rows.

    Returns:
        The distance, at least 0, in squared units of the features. It is biased upward for few samples.

    Raises:
        RequestError: Too few rows, different widths, or values that are not finite.

    Source:
        Dowson and Landau 1982; as a metric of pictures arXiv:1706.08500, equation 6.
    """
    a, b = check_sets(a, b, least=2)
    mean_a, root_a = _moments(a)
    mean_b, root_b = _moments(b)
    cross = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = (mean_a - mean_b).square().sum() + root_a.square().sum() + root_b.square().sum() - 2 * cross
    return max(0.0, distance.item())


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean, and R with R^T R equal to the (unbiased) covariance."""
    mean = features.mean(dim=0)
    root = torch.linalg.qr((features - mean) / (len(features) - 1) ** 0.5, mode="r").R
    return mean, root


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A figure and how sure it is.

    Args:
        value: The mean over blocks.
        standard_error: Standard deviation of that mean; NaN with one block.
        blocks: How many blocks there were.
    """

    value: float
    standard_error: float
    blocks: int


def kernel_distance(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], *, block_size: int = 1000, seed: int = 0
) -> Estimate:
    """The squared maximum mean discrepancy of two sets under the kernel (x.y / d + 1)^3, without bias.

    Both sets are shuffled and cut into disjoint blocks of equal size; the figure is the mean over blocks. Being
    unbiased it is around 0, and may be below, for two sets from one distribution.

    Args:
        a: Features, one row a sample, at least 2 rows.
        b: Features of the other set, at least 2 rows.
        block_size: The most rows in a block, at least 2. Memory is its square.
        seed: Seed of the shuffle.

    Raises:
        RequestError: Too few rows, different widths, or values that are not finite.

    Source:
        Binkowski et al., arXiv:1801.01401, section 4 (KID on Inception features); Gretton et al. 2012, lemma 6.
    """
    if block_size < 2:
        raise RequestError.of("block_size", block_size, "at least 2")
    a, b = check_sets(a, b, least=2)
    generator = torch.Generator().manual_seed(seed)
    a = a[torch.randperm(len(a), generator=generator)]
    b = b[torch.randperm(len(b), generator=generator)]
    rows = min(block_size, len(a), len(b))
    blocks = min(len(a), len(b)) // rows
    values = torch.stack([_mmd(a[i * rows : (i + 1) * rows], b[i * rows : (i + 1) * rows]) for i in range(blocks)])
    error = values.std().item() / blocks**0.5 if blocks > 1 else float("nan")
    return Estimate(value=values.mean().item(), standard_error=error, blocks=blocks)


def _mmd(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased squared discrepancy of two blocks of n rows: pairs of a sample with itself are left out."""
    n, width = x.shape

    def kernel(u: Tensor, v: Tensor) -> Tensor:
        return (u @ v.T / width + 1) ** 3

    within = sum((k.sum() - k.diagonal().sum()) / (n * (n - 1)) for k in (kernel(x, x), kernel(y, y)))
    return within - 2 * kernel(x, y).mean()
