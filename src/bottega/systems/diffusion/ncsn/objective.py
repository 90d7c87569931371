"""What NCSN is trained to do: denoising score matching at all its noise levels at once."""

from __future__ import annotations

import torch
from torch import Tensor

from bottega.processes.diffusion import denoising_score_matching, noise_like
from bottega.systems.diffusion.ncsn.model import Ncsn

ANNEAL_POWER = 2.0


def ncsn_loss(model: Ncsn, pictures: Tensor, generator: torch.Generator) -> Tensor:
    """The mean of sigma^2 |score + noise / sigma|^2 / 2 over samples at random levels.

    Args:
        model: The score network.
        pictures: `(batch, channels, size, size)` in [0, 1].
        generator: Source of levels and noise.

    Source: arXiv:1907.05600 equation 6, with lambda(sigma) = sigma^2.
    """
    count = model.config.levels.count
    level = torch.randint(count, (len(pictures),), generator=generator, device=generator.device).to(pictures.device)
    noise = noise_like(pictures, generator)
    return denoising_score_matching(
        lambda noisy: model(noisy, level), pictures, model.sigmas[level], noise, anneal_power=ANNEAL_POWER
    ).mean()
