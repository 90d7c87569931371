"""What U-ViT is trained to do: predict the noise, as published, or the velocity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bottega.processes.diffusion import (
    Denoised,
    DiscreteVp,
    Epsilon,
    MinSnr,
    Path,
    Uniform,
    UniformTimes,
    Vp,
    Weighting,
    diffusion_loss,
)
from bottega.systems.diffusion.uvit.config import ContinuousTime, UVitConfig
from bottega.systems.diffusion.uvit.model import UVit

CONTINUOUS, DISCRETE = Vp(beta_min=0.1, beta_max=20.0), DiscreteVp.scaled_linear()
"""The two published noise paths; index i of the discrete one is the network's time i + 1."""


def noise_path(config: UVitConfig) -> Path:
    """The noise path of a size."""
    return CONTINUOUS if isinstance(config.time, ContinuousTime) else DISCRETE


class NoisePredictor(nn.Module):
    """A U-ViT that is told the time as its path counts it."""

    def __init__(self, network: UVit) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """The noise in states `x` at times `t` of shape `(batch,)`."""
        continuous = isinstance(self.network.config.time, ContinuousTime)
        return self.network(x, 999.0 * t if continuous else t + 1.0, condition)


def denoiser(network: UVit) -> Denoised:
    """The network as the `Denoiser` that solvers and guidance take."""
    return Denoised(NoisePredictor(network), noise_path(network.config), network.config.prediction)


def uvit_loss(
    network: UVit,
    clean: Tensor,
    condition: Tensor | None,
    generator: torch.Generator,
    weighting: Weighting | None = None,
) -> Tensor:
    """The mean weighted squared error of the prediction, at even times.

    Args:
        network: The noise predictor.
        clean: Pictures or latents `(batch, channels, size, size)`.
        condition: As the network takes it.
        generator: Source of times and noise.
        weighting: How much each noise level counts; `Uniform()` is the published choice. None takes Min-SNR for noise,
            and `Uniform()` for velocity, so that high noise levels count in both.

    Source: arXiv:2209.12152, section 2.
    """
    prediction = network.config.prediction
    if weighting is None:
        weighting = MinSnr() if isinstance(prediction, Epsilon) else Uniform()
    return diffusion_loss(
        NoisePredictor(network),
        clean,
        condition,
        path=noise_path(network.config),
        prediction=prediction,
        weighting=weighting,
        times=UniformTimes(),
        generator=generator,
    ).mean()
