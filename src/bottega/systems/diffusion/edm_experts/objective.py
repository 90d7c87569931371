"""What each part of eDiff-I is trained to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.layers import sinusoid
from bottega.processes.diffusion import X0, Edm, EdmWeighting, Path, TimeSampler, diffusion_loss
from bottega.systems.diffusion.edm_experts.config import EfficientUnetConfig, StageConfig
from bottega.systems.diffusion.edm_experts.model import Told

PATH = Edm()
LOUDEST = 0.5
"""Most noise on the coarse picture in training, as a standard deviation."""


@final
@dataclass(frozen=True, slots=True)
class IntervalTimes:
    """Noise levels whose logarithms are normal, cut to intervals of probability.

    Args:
        intervals: Parts of the unit interval that do not overlap.
        mean: Mean of log(sigma) of the whole density.
        std: Its standard deviation.

    Source: arXiv:2211.01324, section 3.1.
    """

    intervals: tuple[tuple[float, float], ...]
    mean: float = -1.2
    std: float = 1.2

    def __call__(self, count: int, path: Path, generator: torch.Generator) -> Tensor:
        """The times, float64."""
        device = generator.device
        widths = torch.tensor([high - low for low, high in self.intervals], dtype=torch.float64, device=device)
        lows = torch.tensor([low for low, _ in self.intervals], dtype=torch.float64, device=device)
        u = torch.rand(count, generator=generator, dtype=torch.float64, device=device) * widths.sum()
        ends = widths.cumsum(0)
        which = torch.bucketize(u, ends[:-1], right=True)
        place = lows[which] + u - (ends - widths)[which]
        smallest = torch.finfo(torch.float64).eps
        log_sigma = self.mean + self.std * torch.special.ndtri(place.clamp(smallest, 1.0 - smallest))
        return path.time_of_log_snr(-2.0 * log_sigma)


def intervals_of(stage: StageConfig) -> list[tuple[tuple[float, float], ...]]:
    """The noise levels of each member of a stage, in probability: the experts', and last all that they leave."""
    spans = [node.interval for node in stage.experts]
    left, place = [], 0.0
    for low, high in [*sorted(spans), (1.0, 1.0)]:
        if low > place:
            left.append((place, low))
        place = high
    return [*((span,) for span in spans), tuple(left)]


def member_times(stage: StageConfig) -> list[IntervalTimes]:
    """The time sampler of each member of a stage."""
    return [IntervalTimes(part, stage.log_sigma_mean, stage.log_sigma_std) for part in intervals_of(stage)]


def growing_times(stage: StageConfig, share: float) -> list[IntervalTimes]:
    """The time samplers on the way down the tree: an expert first learns its oldest ancestor's half, at last its own.

    A node starts from what its parent has learned, so walking one network down the branch is the tree's training.

    Args:
        stage: The model of the cascade.
        share: How much of the training is done, 0 to 1.

    Source: arXiv:2211.01324, section 3.1.
    """
    times = member_times(stage)
    for number, node in enumerate(stage.experts):
        branch = node.branch
        if branch:
            step = branch[min(int(share * len(branch)), len(branch) - 1)]
            times[number] = IntervalTimes((step.interval,), stage.log_sigma_mean, stage.log_sigma_std)
    return times


def edm_loss(
    network: nn.Module, pictures: Tensor, told: Told, times: TimeSampler, sigma_data: float, generator: torch.Generator
) -> Tensor:
    """The weighted squared error of x0 of each sample, `(batch,)`. Source: arXiv:2206.00364, section 5."""
    weighting = EdmWeighting(sigma_data)
    return diffusion_loss(
        network, pictures, told, path=PATH, prediction=X0(), weighting=weighting, times=times, generator=generator
    )


def enlarged(coarse: Tensor, size: int) -> Tensor:
    """Coarse pictures at a finer size, `(batch, 3, size, size)`."""
    return F.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)


def told_coarse(
    told: Told, coarse: Tensor, noise: Tensor, level: Tensor, unet: EfficientUnetConfig
) -> dict[str, Tensor]:
    """What a super-resolution model is told: the coarse picture with noise, enlarged, and how much noise that is.

    Args:
        told: What the words and the style say.
        coarse: `(batch, 3, side, side)` in [-1, 1].
        noise: Of the coarse picture's shape.
        level: Standard deviation of the noise `(batch,)`.
        unet: The network that enlarges.

    Source: noise conditioning augmentation, arXiv:2106.15282, section 4.3.
    """
    noisy = coarse + level.to(coarse)[:, None, None, None] * noise
    return {**told, "low": enlarged(noisy, unet.size), "augment": sinusoid(1000.0 * level, unet.augment_dim)}


def fill_in_loss(states: Tensor, embedding: Tensor, tokens: Tensor, hidden: Tensor) -> Tensor:
    """The loss of naming hidden words by their states.

    Args:
        states: `(batch, tokens, width)` of texts with hidden words.
        embedding: The token embeddings `(vocabulary, width)`.
        tokens: The true ids `(batch, tokens)`.
        hidden: True where a word was hidden.
    """
    logits = states @ embedding.T * embedding.shape[1] ** -0.5
    errors = F.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten(), reduction="none")
    chosen = hidden.flatten().to(errors)
    return (errors * chosen).sum() / chosen.sum().clamp(min=1.0)
