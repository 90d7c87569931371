"""What a score network is trained to do: denoising score matching at all times of the SDE."""

from __future__ import annotations

import torch
from torch import Tensor

from bottega.processes.diffusion import (
    Denoised,
    Epsilon,
    LikelihoodWeighting,
    Uniform,
    UniformTimes,
    diffusion_loss,
)
from bottega.systems.diffusion.score_sde.model import ScoreSde


def denoiser(model: ScoreSde) -> Denoised:
    """The model as the `Denoiser` that solvers, guidance and likelihoods take."""
    return Denoised(model, model.config.sde, Epsilon())


def score_sde_loss(
    model: ScoreSde, clean: Tensor, generator: torch.Generator, *, likelihood_weighting: bool = False
) -> Tensor:
    """The mean of |sigma score + noise|^2 over t ~ U(t_min, 1), or of g^2 |score + noise / sigma|^2.

    Args:
        model: The score network.
        clean: States `(batch, channels, size, size)`.
        generator: Source of times and noise.
        likelihood_weighting: Weighs times so that the loss bounds the negative log-likelihood.

    Source: arXiv:2011.13456 equation 7 and appendix C; arXiv:2101.09258.
    """
    weighting = LikelihoodWeighting(model.config.sde) if likelihood_weighting else Uniform()
    times = UniformTimes(stratified=True)
    return diffusion_loss(
        model, clean, path=model.config.sde, prediction=Epsilon(), weighting=weighting, times=times, generator=generator
    ).mean()
