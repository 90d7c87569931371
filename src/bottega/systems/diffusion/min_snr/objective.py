"""What the transformer is trained to do. Source: arXiv:2303.09556 section 3.4."""

from __future__ import annotations

import torch
from torch import Tensor

from bottega.processes.diffusion import UniformTimes, diffusion_loss
from bottega.systems.diffusion.min_snr.model import MinSnrPipeline


def min_snr_loss(pipeline: MinSnrPipeline, clean: Tensor, classes: Tensor, generator: torch.Generator) -> Tensor:
    """The mean weighted squared error of the output at even times.

    Args:
        pipeline: Whose transformer is trained.
        clean: Pictures or latents `(batch, channels, size, size)`.
        classes: `(batch,)`.
        generator: Source of times and noise.
    """
    return diffusion_loss(
        pipeline.network,
        clean,
        classes,
        path=pipeline.path,
        prediction=pipeline.config.prediction,
        weighting=pipeline.config.weighting,
        times=UniformTimes(),
        generator=generator,
    ).mean()
