"""What MDT is trained to do: predict the noise of a whole picture, and of one that is partly hidden from it."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bottega.networks import Dit
from bottega.processes.diffusion import (
    Denoised,
    DenoisedRange,
    DiscreteVp,
    Epsilon,
    MinSnr,
    Uniform,
    Weighting,
    corrupt,
    noise_like,
    range_loss,
)
from bottega.systems.diffusion.mdt.config import Design, MacroDesign
from bottega.systems.diffusion.mdt.model import Masking, Mdt

PATH = DiscreteVp.linear()
"""DDPM's 1000 steps; index i is the network's time i."""

Output = Callable[[Tensor, Tensor], Tensor]


class NoisePredictor(nn.Module):
    """The network without the half of its output that says the variances."""

    def __init__(self, network: Dit | Mdt) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """The noise in states `x` at times `t` of shape `(batch,)`."""
        return self.network(x, t, label)[:, : x.shape[1]]


def denoiser(network: Dit | Mdt) -> Denoised:
    """The network as the `Denoiser` that every solver takes."""
    return Denoised(NoisePredictor(network), PATH, Epsilon())


def ranged_denoiser(network: Dit | Mdt) -> DenoisedRange:
    """The network with its variances, for `RangedDdpm`."""
    return DenoisedRange(network, PATH, Epsilon())


def published_weighting(design: Design) -> Weighting:
    """How much each noise level counts: all alike in DiT and MDT, Min-SNR in MDTv2's code."""
    return MinSnr() if isinstance(design, MacroDesign) else Uniform()


def mdt_losses(
    network: Dit | Mdt, clean: Tensor, label: Tensor, generator: torch.Generator, weighting: Weighting
) -> dict[str, Tensor]:
    """The losses of a batch: of the whole, and, where the design masks, of the same noisy states partly hidden.

    Args:
        network: DiT, MDT or MDTv2.
        clean: Pictures or latents `(batch, channels, size, size)`.
        label: Class ids `(batch,)`.
        generator: Source of times, noise and masks.
        weighting: How much each noise level counts in the error of the noise.

    Returns:
        "loss", their sum, and the parts by name.

    Source: arXiv:2303.14389 section 3.2; arXiv:2102.09672 section 3.1 for the variances.
    """
    times = PATH.training_time(torch.rand(len(clean), generator=generator, device=generator.device).double())
    times, noise = times.to(clean.device), noise_like(clean, generator)
    noisy = corrupt(clean, times, noise, PATH)
    weight = weighting(PATH.alpha(times), PATH.sigma(times), Epsilon()).float()

    def parts(output: Tensor, name: str) -> dict[str, Tensor]:
        predicted, place = output.float().chunk(2, dim=1)
        error = weight * (predicted - noise).square().flatten(1).mean(1)
        x0 = _expected(noisy, predicted, times)
        bound = range_loss(place, clean, noisy, x0, times, PATH)
        return {f"noise{name}": error.mean(), f"bound{name}": bound.mean()}

    told = times.float()
    losses = parts(network(noisy, told, label), "")
    if isinstance(network, Mdt):
        masking = draw_masking(network, len(clean), generator)
        losses |= parts(network(noisy, told, label, masking), ", masked")
    return {"loss": torch.stack(tuple(losses.values())).sum(), **losses}


def draw_masking(network: Mdt, batch: int, generator: torch.Generator) -> Masking:
    """The masks of one training pass; the share is one number for the batch, as in the authors' code."""
    low, high = network.design.ratios
    ratio = random.Random(generator.initial_seed()).uniform(low, high)  # no tensor: sizes follow from it
    return Masking.draw(batch, network.config.patches, ratio, generator)


def _expected(noisy: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    alpha, sigma = (part.to(noisy.dtype).reshape(-1, 1, 1, 1) for part in (PATH.alpha(times), PATH.sigma(times)))
    return Epsilon().to_x0(noise, noisy, alpha, sigma)
