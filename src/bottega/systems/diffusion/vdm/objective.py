"""What VDM is trained on: the bound on the bits of a picture. Source: arXiv:2107.00630 section 4."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bottega.processes.diffusion import (
    PlainBound,
    bits_per_dim,
    diffusion_nats,
    from_levels,
    prior_nats,
    reconstruction_nats,
)
from bottega.systems.diffusion.vdm.model import Vdm


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bits:
    """The parts of the bound for each picture, in bits for each of its numbers, `(batch,)`.

    Args:
        diffusion: One Monte-Carlo sample of the diffusion part.
        prior: What is left of the picture in the noisiest state.
        reconstruction: What the least noisy state leaves open.
    """

    diffusion: Tensor
    prior: Tensor
    reconstruction: Tensor

    @property
    def total(self) -> Tensor:
        """The sum."""
        return self.diffusion + self.prior + self.reconstruction


def picture_bits(
    model: Vdm, levels: Tensor, generator: torch.Generator, *, steps: int | None = None, weighted: bool = False
) -> Bits:
    """The bound on the bits of pictures, at stratified times.

    Args:
        model: The model.
        levels: Pictures `(batch, 3, size, size)`, integers 0 to 255.
        generator: Source of times and noise, on the pictures' device.
        steps: T of the discrete-time bound; None is continuous time.
        weighted: Whether noise levels count as the configuration says (training), instead of alike.
    """
    count, device = len(levels), generator.device
    shift = torch.rand((), generator=generator, device=device)
    t = (shift + torch.arange(count, device=device) / count) % 1.0
    noise, other = (torch.randn(levels.shape, generator=generator, device=device) for _ in range(2))
    x, schedule = from_levels(levels), model.schedule
    weight = model.config.weight if weighted else PlainBound()
    diffusion = diffusion_nats(model.network, x, t, noise, schedule, steps=steps, weight=weight)
    dims = model.config.dims
    return Bits(
        diffusion=bits_per_dim(diffusion, dims),
        prior=bits_per_dim(prior_nats(x, schedule), dims),
        reconstruction=bits_per_dim(reconstruction_nats(levels, other, schedule), dims),
    )
