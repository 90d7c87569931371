"""The modules of Min-SNR: the diffusion transformer, and the autoencoder in whose latents the large ones work."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bottega.networks import AutoencoderKl, DiffusionVit
from bottega.processes.diffusion import Denoised, DiscreteVp
from bottega.systems.diffusion.min_snr.config import MinSnrConfig


class MinSnrPipeline(nn.Module):
    """The transformer with what it needs to start from pictures."""

    def __init__(self, config: MinSnrConfig) -> None:
        super().__init__()
        self.config = config
        self.network = DiffusionVit(config.network)
        self.autoencoder = None if config.autoencoder is None else AutoencoderKl(config.autoencoder)

    @property
    def path(self) -> DiscreteVp:
        """The noise path."""
        return noise_path(self.config)

    def denoiser(self) -> Denoised:
        """The transformer as solvers and guidance take it."""
        return Denoised(self.network, self.path, self.config.prediction)

    def to_states(self, pictures: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Pictures `(batch, 3, height, width)` in [-1, 1] to what is denoised; latents are drawn with a generator."""
        return pictures if self.autoencoder is None else self.autoencoder.to_latents(pictures, generator)

    def to_pictures(self, states: Tensor) -> Tensor:
        """The inverse of `to_states`."""
        return states if self.autoencoder is None else self.autoencoder.from_latents(states)


def noise_path(config: MinSnrConfig) -> DiscreteVp:
    """The cosine path with the configuration's number of steps."""
    return DiscreteVp.cosine(config.noise_levels)
