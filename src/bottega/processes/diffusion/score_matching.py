"""Score matching: losses that fit a vector field to the gradient of a log density of which only samples are known.

A score network is any function of states `(b, ...)` to vectors of the same shape. Every loss is one number for each
sample, `(b,)`, and, in expectation, half the squared distance to the true score up to a constant.

    exact      a backward pass for each of the state's numbers
    sliced     one for each projection, whatever the dimension
    sliced VR  the same, with the first term worked out instead of sampled
    denoising  none: it learns the score of the data with noise added
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import torch
from torch import Tensor

from bottega.processes.diffusion.objective import noise_like

ScoreNetwork = Callable[[Tensor], Tensor]


class Projection(enum.Enum):
    """How the directions of sliced score matching are drawn. All have mean 0 and covariance 1."""

    RADEMACHER = "rademacher"
    """Signs: the least variance."""
    GAUSSIAN = "gaussian"
    SPHERE = "sphere"
    """Even on the sphere of radius sqrt(dimension)."""


def projections(
    x: Tensor, count: int, kind: Projection = Projection.RADEMACHER, generator: torch.Generator | None = None
) -> Tensor:
    """Directions `(count, *x.shape)` for `sliced_score_matching`.

    Args:
        x: The states `(b, ...)` that they are for.
        count: Directions for each state, at least 1.
        kind: Their distribution.
        generator: Source of chance; the default is torch's own.
    """
    drawn = noise_like(x.detach()[None].expand(count, *x.shape), generator)
    match kind:
        case Projection.RADEMACHER:
            return torch.where(drawn < 0, -1.0, 1.0).to(x.dtype)
        case Projection.GAUSSIAN:
            return drawn
        case Projection.SPHERE:
            flat = drawn.flatten(2)
            return (flat * (flat.shape[2] ** 0.5 / flat.norm(dim=2, keepdim=True))).view_as(drawn)


def exact_score_matching(score: ScoreNetwork, x: Tensor) -> Tensor:
    """Hyvarinen's loss, half the squared score plus the trace of its Jacobian, `(b,)`.

    Costs as many backward passes as a state has numbers.
    Source: Hyvarinen, JMLR 6 (2005), theorem 1; arXiv:1905.07088 equation 3.
    """
    x, output = _tracked(score, x)
    flat = output.flatten(1)
    trace = torch.zeros_like(flat[:, 0])
    for i in range(flat.shape[1]):
        trace = trace + _pulled_back(flat[:, i], x).flatten(1)[:, i]
    return 0.5 * flat.square().sum(1) + trace


def sliced_score_matching(
    score: ScoreNetwork, x: Tensor, directions: Tensor, *, variance_reduced: bool = False
) -> Tensor:
    """The loss on random directions v: v' J v + (v' s)^2 / 2, averaged over them, `(b,)`.

    Costs one backward pass, of a batch as many times larger as there are directions.

    Args:
        score: The score network; it sees the states once, whatever the number of directions.
        x: States `(b, ...)`.
        directions: `(directions, b, ...)`, of `projections`.
        variance_reduced: Takes |s|^2 / 2, which is the expectation of the second term, in its place.

    Source: arXiv:1905.07088 equations 7 and 8.
    """
    x, output = _tracked(score, x)
    along = (directions * output).flatten(2).sum(2)
    stretch = torch.zeros_like(along[0])
    for direction, projected in zip(directions, along, strict=True):
        stretch = stretch + (direction * _pulled_back(projected, x)).flatten(1).sum(1)
    length = output.flatten(1).square().sum(1) if variance_reduced else along.square().mean(0)
    return stretch / len(directions) + 0.5 * length


def denoising_score_matching(
    score: ScoreNetwork, x: Tensor, sigma: float | Tensor, noise: Tensor, *, anneal_power: float = 0.0
) -> Tensor:
    """Half the squared distance to the score of the noise that was added: |s(x + sigma z) + z / sigma|^2 / 2, `(b,)`.

    The network learns the score of the data blurred by sigma.

    Args:
        score: The score network.
        x: Clean states `(b, ...)`.
        sigma: Standard deviation of the noise, above 0: one for all, or `(b,)`.
        noise: Standard normal noise z of x's shape.
        anneal_power: The loss is multiplied by sigma to this power; 2 gives all noise levels like weight.

    Source: Vincent, Neural Computation 23 (2011), section 4.3; arXiv:1907.05600 equations 5 and 6.
    """
    level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 1))
    # sigma^p |s + z / sigma|^2 as |sigma^(p/2) s + sigma^(p/2 - 1) z|^2: small levels do not overflow
    lifted = score(x + level * noise) * level ** (0.5 * anneal_power) + noise * level ** (0.5 * anneal_power - 1.0)
    return 0.5 * lifted.flatten(1).square().sum(1)


def fisher_divergence(score: ScoreNetwork, truth: ScoreNetwork, x: Tensor) -> Tensor:
    """Half the squared distance between two scores at states `(b, ...)`, `(b,)`: what score matching makes small."""
    return 0.5 * (score(x) - truth(x)).flatten(1).square().sum(1)


def _tracked(score: ScoreNetwork, x: Tensor) -> tuple[Tensor, Tensor]:
    """States that gradients reach, and their scores."""
    x = x.detach().requires_grad_()
    return x, score(x)


def _pulled_back(values: Tensor, x: Tensor) -> Tensor:
    """Gradients of `values`, one for each state, with respect to the states; they can be differentiated again."""
    return torch.autograd.grad(values.sum(), x, create_graph=True)[0]
