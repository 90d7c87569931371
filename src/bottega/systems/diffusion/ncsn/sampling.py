"""How NCSN draws: annealed Langevin dynamics whose noise, for each item, comes from a stream of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from bottega.processes.diffusion import AnnealedLangevin, Ask, Denoiser, Edm, Prior, Score
from bottega.systems.diffusion.ncsn.model import Ncsn

Draw = Callable[[], Tensor]
StepReport = Callable[[int, int, Tensor], None]


@final
class ScoreAt(nn.Module):
    """The model as a network `(x, sigma of shape (batch,), condition) -> score`: time is the noise level itself."""

    def __init__(self, model: Ncsn) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, sigma: Tensor, condition: object = None) -> Tensor:
        """The score, of x's shape."""
        return self.model.at(x, sigma)


def prior(model: Ncsn) -> Prior:
    """NCSN as rooms see it that work on any diffusion model."""
    config = model.config
    return Prior(
        network=ScoreAt(model),
        path=Edm(sigma_min=config.levels.last, sigma_max=config.levels.first),
        prediction=Score(),
        shape=(config.channels, config.size, config.size),
        to_pictures=lambda states: to_pictures(states, config.channels),
        from_pictures=lambda pictures: from_pictures(pictures, config.channels),
        size=config.size,
    )


def to_pictures(states: Tensor, channels: int) -> Tensor:
    """States with pixels in [0, 1] to pictures `(batch, 3, size, size)` in [-1, 1]."""
    return (2.0 * states - 1.0).expand(-1, 3, -1, -1) if channels == 1 else 2.0 * states - 1.0


def from_pictures(pictures: Tensor, channels: int) -> Tensor:
    """The inverse of `to_pictures`; grey where there is one channel."""
    return 0.5 * (pictures.mean(1, keepdim=True) if channels == 1 else pictures) + 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """Pixels that a sample must keep.

    Args:
        pictures: States `(batch, channels, size, size)`.
        mask: Where they are known, bool, broadcasting over the states.
    """

    pictures: Tensor
    mask: Tensor

    def impose(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        """The state with the known pixels, as noisy as the level, in their place."""
        return torch.where(self.mask, self.pictures + sigma * noise, x)


def anneal(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    solver: AnnealedLangevin,
    draw: Draw,
    *,
    known: Known | None = None,
    report: StepReport = lambda *_: None,
) -> Tensor:
    """Annealed Langevin dynamics from states `x`: the core's plan, with this room's noise.

    Args:
        denoiser: `(x, sigma, condition) -> x0`.
        x: Where the chains start.
        sigmas: The levels to visit, falling.
        solver: Step size, steps and denoising.
        draw: Makes standard normal noise of x's shape.
        known: Pixels to keep, imposed before every step and at the end.
        report: Called after each step with its number from 1, the number of steps and the expected x0.

    Source: arXiv:1907.05600 algorithm 1, and appendix B.3 for the known pixels.
    """
    path = Edm(sigma_min=sigmas[-1], sigma_max=max(sigmas[0], 2 * sigmas[-1]))
    steps = solver.plan((*sigmas, 0.0), path)
    total, x0, ask = len(steps), x, Ask(lambda state, t: denoiser(state, t, None))
    for number, step in enumerate(steps, 1):
        if known is not None:
            level = sigmas[min((number - 1) // solver.steps_per_level, len(sigmas) - 1)]
            x = known.impose(x, level, draw())
        x, x0 = step.take(x, x0, ask, lambda _: draw())
        report(number, total, x0)
    return x if known is None else torch.where(known.mask, known.pictures, x)


def separate(generators: Sequence[torch.Generator], shape: tuple[int, ...]) -> Draw:
    """Noise `(items, *shape)` in which item i depends on generator i alone."""
    return lambda: torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def between(first: Draw, second: Draw, count: int) -> Draw:
    """Noise that turns from one stream's to another's in `count` even angles: items are `rows * count`.

    Source: the authors' `anneal_Langevin_dynamics_interpolation`.
    """
    angles = torch.linspace(0.0, math.pi / 2, count)

    def draw() -> Tensor:
        start, end = first(), second()
        turned = [angle.cos() * start + angle.sin() * end for angle in angles]
        return torch.stack(turned, dim=1).flatten(0, 1)

    return draw
