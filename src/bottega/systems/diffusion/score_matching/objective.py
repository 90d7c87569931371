"""The four losses, what they cost, and the data on which they are judged: two modes of known score."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bottega.processes.diffusion import (
    GaussianMixture,
    ScoreNetwork,
    denoising_score_matching,
    exact_score_matching,
    noise_like,
    projections,
    sliced_score_matching,
)
from bottega.systems.diffusion.score_matching.config import Method, ScoreMatchingConfig


def two_modes(dim: int) -> GaussianMixture:
    """0.8 N((5, ..., 5), I) + 0.2 N((-5, ..., -5), I). Source: arXiv:1907.05600 section 3.2.2, in the plane."""
    return GaussianMixture.isotropic([0.8, 0.2], [[5.0] * dim, [-5.0] * dim], [1.0, 1.0])


def score_loss(
    score: ScoreNetwork,
    x: Tensor,
    method: Method,
    config: ScoreMatchingConfig,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The loss of each sample, `(batch,)`.

    Args:
        score: The score network.
        x: Samples `(batch, dim)`.
        method: Which loss.
        config: Directions and noise.
        generator: Source of them.
    """
    match method:
        case Method.EXACT:
            return exact_score_matching(score, x)
        case Method.SLICED | Method.SLICED_VR:
            directions = projections(x, config.directions, config.projection, generator)
            return sliced_score_matching(score, x, directions, variance_reduced=method is Method.SLICED_VR)
        case Method.DENOISING:
            return denoising_score_matching(score, x, config.sigma, noise_like(x, generator))


def backward_passes(method: Method, config: ScoreMatchingConfig, dim: int) -> int:
    """How often a loss goes back through a score network of `dim` numbers, counted while it is worked out."""
    passes = 0

    def counted(x: Tensor) -> Tensor:
        def seen(gradient: Tensor) -> None:
            nonlocal passes
            passes += 1

        output = nn.Linear(dim, dim)(x)
        output.register_hook(seen)
        return output

    with torch.inference_mode(False), torch.enable_grad():
        score_loss(counted, torch.ones(1, dim), method, config, torch.Generator().manual_seed(0))
    return passes
