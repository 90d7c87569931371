"""Metrics that count neighbours in feature space: precision, recall, density, coverage, retrieval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bottega.errors import RequestError

# Rows of a distance matrix held at once: 512 x 50,000 float64 are 200 MB.
_ROWS: Final = 512
# Squared distances below this share of the squared norms are rounding noise of equal points.
_NOISE: Final = 1e-13


@dataclass(frozen=True, kw_only=True, slots=True)
class PrecisionRecall:
    """Shares in [0, 1].

    Args:
        precision: Generated samples that lie where real ones are: quality.
        recall: Real samples that lie where generated ones are: variety.
    """

    precision: float
    recall: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DensityCoverage:
    """Precision and recall made robust to outliers.

    Args:
        density: Real neighbourhoods around a generated sample, over k; may exceed 1.
        coverage: Share of real samples with a generated one in their neighbourhood.
    """

    density: float
    coverage: float


def precision_recall(real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], *, k: int = 3) -> PrecisionRecall:
    """How many samples of each set lie in the other's manifold, the union of balls up to the k-th neighbour.

    Args:
        real: Features of real samples, more than `k` rows.
        fake: Features of generated samples, more than `k` rows.
        k: Which neighbour, within the same set and not counting the sample itself, bounds its ball.

    Raises:
        RequestError: Too few rows, different widths, or values that are not finite.

    Source:
        Kynkäänniemi et al., arXiv:1904.06991, equations 1 and 2 (k = 3, section 3.1).
    """
    real, fake = check_neighbours(real, fake, k)
    return PrecisionRecall(precision=_share_inside(fake, real, k), recall=_share_inside(real, fake, k))


def density_coverage(real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], *, k: int = 5) -> DensityCoverage:
    """How densely real neighbourhoods hold generated samples, and how many of them hold any.

    Args:
        real: Features of real samples, more than `k` rows.
        fake: Features of generated samples, more than `k` rows.
        k: Which real neighbour bounds the neighbourhood of a real sample.

    Raises:
        RequestError: Too few rows, different widths, or values that are not finite.

    Source:
        Naeem et al., arXiv:2002.09797, equations 4 and 5 (k = 5, section 4).
    """
    real, fake = check_neighbours(real, fake, k)
    radii = _squared_radii(real, k)
    held = torch.cat([(part <= radii[rows, None]).sum(dim=1) for rows, part in _squared_distances(real, fake)])
    density = held.sum().item() / (k * len(fake))
    return DensityCoverage(density=density, coverage=(held > 0).double().mean().item())


def retrieval_accuracy(
    queries: Float[Tensor, "n d"], gallery: Float[Tensor, "m d"], targets: Int[Tensor, " n"], k: int = 1
) -> float:
    """The share of queries whose target is among the k nearest in a gallery, by Euclidean distance.

    Ties count against the query, so that constant features find nothing. Normalise the rows for cosine similarity.

    Args:
        queries: Features of what was made.
        gallery: Features of everything it might be, such as the whole atlas.
        targets: Row of the gallery that each query should find.
        k: How many nearest rows count, from 1 to `m`.

    Raises:
        RequestError: `k` or a target is out of range, the widths differ, or values are not finite.
    """
    queries, gallery = check_sets(queries, gallery, least=1)
    if not 1 <= k <= len(gallery):
        raise RequestError.of("k", k, f"in [1, {len(gallery)}], the size of the gallery")
    targets = torch.as_tensor(targets).long().cpu()
    if targets.shape != (len(queries),) or targets.min() < 0 or targets.max() >= len(gallery):
        raise RequestError.of("targets", tuple(targets.shape), f"{len(queries)} rows in [0, {len(gallery)})")
    hits = 0
    for rows, distances in _squared_distances(queries, gallery):
        wanted = distances.gather(1, targets[rows, None])
        hits += int(((distances <= wanted).sum(dim=1) <= k).sum())  # the target itself is one of them
    return hits / len(queries)


def check_sets(a: Tensor, b: Tensor, *, least: int) -> tuple[Tensor, Tensor]:
    """Two sets of features as float64 on the CPU.

    Raises:
        RequestError: Not two matrices of one width with at least `least` finite rows.
    """
    for name, features in (("the first set", a), ("the second set", b)):
        if features.ndim != 2 or len(features) < least:
            raise RequestError.of(name, tuple(features.shape), f"a matrix of at least {least} rows")
        if not features.isfinite().all():
            raise RequestError(f"{name} holds values that are not finite; the network that made it has diverged")
    if a.shape[1] != b.shape[1]:
        raise RequestError.of("the width of the second set", b.shape[1], f"{a.shape[1]} as in the first")
    return a.detach().double().cpu(), b.detach().double().cpu()


def check_neighbours(real: Tensor, fake: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As `check_sets`, for metrics of the k-th neighbour; moves the origin to the mean, where rounding is least."""
    if k < 1:
        raise RequestError.of("k", k, "at least 1")
    real, fake = check_sets(real, fake, least=k + 1)
    centre = real.mean(dim=0)
    return real - centre, fake - centre


def _squared_distances(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """The matrix of squared distances, a few rows at a time: `(rows, (r, m))`."""
    norms = b.square().sum(dim=1)
    for start in range(0, len(a), _ROWS):
        rows = slice(start, min(start + _ROWS, len(a)))
        scale = a[rows].square().sum(dim=1, keepdim=True) + norms
        squared = scale - 2 * a[rows] @ b.T
        yield rows, squared.where(squared > _NOISE * scale, 0)


def _squared_radii(features: Tensor, k: int) -> Tensor:
    """Squared distance of each row to its k-th neighbour; the nearest of all is the row itself."""
    return torch.cat([part.kthvalue(k + 1, dim=1).values for _, part in _squared_distances(features, features)])


def _share_inside(samples: Tensor, manifold: Tensor, k: int) -> float:
    """The share of samples within the ball of any row of the manifold."""
    radii = _squared_radii(manifold, k)
    inside = torch.cat([(part <= radii).any(dim=1) for _, part in _squared_distances(samples, manifold)])
    return inside.double().mean().item()
