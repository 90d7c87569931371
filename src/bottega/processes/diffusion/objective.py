"""The one training loss of every diffusion model: a weighted squared error of the network's output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bottega.processes.diffusion.paths import Path
from bottega.processes.diffusion.predictions import Network, Prediction, at_least_float, coefficients_like
from bottega.processes.diffusion.weighting import TimeSampler, Weighting


def diffusion_loss(
    network: Network,
    x0: Tensor,
    cond: Any = None,
    *,
    path: Path,
    prediction: Prediction,
    weighting: Weighting,
    times: TimeSampler,
    generator: torch.Generator,
) -> Tensor:
    """The loss of each sample at a random time with random noise.

    Args:
        network: `(x_t, t of shape (b,), cond) -> output` of x_t's shape.
        x0: Clean samples, `(b, ...)`.
        cond: Conditions, handed to the network as they are.
        path: The noise path.
        prediction: What the network predicts.
        weighting: How much each noise level counts.
        times: How times are drawn.
        generator: Source of times and noise. A CPU generator gives the same draws on every device.

    Returns:
        Mean weighted squared error of each sample, `(b,)`, float32.
    """
    t = times(x0.shape[0], path, generator).to(x0.device)
    noise = noise_like(x0, generator)
    return denoising_loss(network, x0, t, noise, cond, path=path, prediction=prediction, weighting=weighting)


def denoising_loss(
    network: Network,
    x0: Tensor,
    t: Tensor,
    noise: Tensor,
    cond: Any = None,
    *,
    path: Path,
    prediction: Prediction,
    weighting: Weighting,
) -> Tensor:
    """The loss of each sample at given times `t` of shape (b,) with given noise: `diffusion_loss` without chance."""
    alpha, sigma = coefficients_like(x0, t, path)
    x_t = corrupt(x0, t, noise, path)
    output = network(x_t, t.to(torch.float32), cond)
    target = prediction.target(at_least_float(x0), at_least_float(noise), alpha, sigma)
    error = (at_least_float(output) - target).square().flatten(1).mean(1)
    return weighting(path.alpha(t), path.sigma(t), prediction).to(error.dtype) * error


def corrupt(x0: Tensor, t: Tensor, noise: Tensor, path: Path) -> Tensor:
    """The noisy state alpha(t) x0 + sigma(t) noise in x0's dtype, for times `t` of shape (b,)."""
    alpha, sigma = coefficients_like(x0, t, path)
    return (alpha * x0 + sigma * noise).to(x0.dtype)


Randomness = torch.Generator | Sequence[torch.Generator] | None
"""One stream of random numbers for a batch, or one for each of its samples, or torch's own."""


def noise_like(x: Tensor, generator: Randomness) -> Tensor:
    """Standard normal noise of x's shape, dtype and device, drawn where the generator lives.

    With a generator for each row, a row depends on its own alone, whatever batch it is in.
    """
    if isinstance(generator, Sequence):
        return torch.stack([noise_like(row, one) for row, one in zip(x, generator, strict=True)])
    device = x.device if generator is None else generator.device
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device).to(x.device)
