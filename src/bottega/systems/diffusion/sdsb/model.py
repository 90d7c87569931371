"""The modules of Simplified DSB."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.networks import AdmUnet, AdmUnetConfig, AutoencoderKl, DiffusionVit, DiffusionVitConfig
from bottega.processes.bridge import Mean, mover
from bottega.systems.diffusion.sdsb.config import ResMlpConfig, SdsbConfig


class StepNorm(nn.Module):
    """Layer normalisation whose scale and shift depend on the step."""

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.table = nn.Embedding(steps, width)
        self.linear = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """`(batch, width)` to the same shape."""
        scale, shift = self.linear(F.silu(self.table(step))).chunk(2, dim=-1)
        return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift


class ResMlpBlock(nn.Module):
    """SiLU of the input and its normalised linear map."""

    def __init__(self, config: ResMlpConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.width, config.width)
        self.norm = StepNorm(config.width, config.steps)

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """`(batch, width)` to the same shape."""
        return F.silu(x + self.norm(self.linear(x), step))


class ResMlp(nn.Module):
    """The network of points."""

    def __init__(self, config: ResMlpConfig) -> None:
        super().__init__()
        self.first = nn.Linear(config.dims, config.width)
        self.blocks = nn.ModuleList(ResMlpBlock(config) for _ in range(config.layers - 2))
        self.last = nn.Linear(config.width, config.dims)

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """Points `(batch, dims)` and steps `(batch,)` to an output of the points' shape."""
        x, step = F.relu(self.first(x)), step.long()
        for block in self.blocks:
            x = block(x, step)
        return self.last(x)


class Sdsb(nn.Module):
    """Two networks: `there` carries the first end to the second, `back` the second to the first."""

    def __init__(self, config: SdsbConfig) -> None:
        super().__init__()
        self.config = config
        self.there, self.back = (_network(config) for _ in range(2))
        self.autoencoder = None if config.autoencoder is None else AutoencoderKl(config.autoencoder)

    @property
    def like(self) -> Tensor:
        """A tensor on the model's device."""
        return next(self.there.parameters())

    def way(self, *, there: bool) -> Mean:
        """A direction as a mover."""
        return mover(self.there if there else self.back, self.config.move, self.config.steps)

    def to_states(self, pictures: Tensor) -> Tensor:
        """Pictures `(batch, 3, height, width)` in [-1, 1] to states."""
        return pictures if self.autoencoder is None else self.autoencoder.to_latents(pictures)

    def to_pictures(self, states: Tensor) -> Tensor:
        """The inverse of `to_states`."""
        return states if self.autoencoder is None else self.autoencoder.from_latents(states)


def _network(config: SdsbConfig) -> nn.Module:
    match config.network:
        case ResMlpConfig() as size:
            return ResMlp(size)
        case DiffusionVitConfig() as size:
            return DiffusionVit(size)
        case AdmUnetConfig() as size:
            return AdmUnet(size)


def parameters_of(model: Sdsb, *, there: bool) -> list[torch.nn.Parameter]:
    """The parameters of a direction."""
    return list((model.there if there else model.back).parameters())
