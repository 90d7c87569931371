"""Training StyleGAN2: two networks against each other, with lazy regularisation and adaptive augmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bottega.data import Crop, Pictured, Source, fit_picture, pictures_to_tensor, tensor_to_pictures
from bottega.networks import Noise
from bottega.processes.adversarial import (
    AdaptiveStrength,
    augmented,
    discriminator_loss,
    generator_loss,
    path_length_penalty,
    path_lengths,
    r1_penalty,
)
from bottega.room import Stage
from bottega.systems.image.draggan.model import DragGan, frozen
from bottega.training import FitSettings, Precision, TrainState, descend, draw_generators

_MIXING = 0.9
"""Share of batches whose pictures take coarse and fine styles from two latents."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adversary:
    """How hard the two networks are held.

    Args:
        gamma: Weight of R1; it grows with the pictures' pixels and shrinks with the batch.
        path_weight: Weight of the path lengths; 0 leaves them out.
        penalise_every: Updates between R1 penalties.
        smooth_every: Updates between path length penalties.
        target: What `AdaptiveStrength` aims at.
        samples: Pictures that its strength takes from 0 to 1.
        filtered: Whether augmentation moves pictures through the published filter.
    """

    gamma: float = 0.2
    path_weight: float = 2.0
    penalise_every: int = 16
    smooth_every: int = 8
    target: float = 0.6
    samples: int = 100_000
    filtered: bool = False


@dataclass(frozen=True, slots=True)
class DragGanBatch:
    """Pictures `(batch, 3, resolution, resolution)` in [-1, 1], and their kinds `(batch,)`."""

    pictures: Tensor
    labels: Tensor


class Duel(nn.Module):
    """All that changes in training: the networks, the strength of augmentation, mean path length and last penalty."""

    path_mean: Tensor
    penalty: Tensor

    def __init__(self, networks: DragGan, adversary: Adversary) -> None:
        super().__init__()
        self.networks = networks
        self.strength = AdaptiveStrength(target=adversary.target, samples=adversary.samples)
        self.register_buffer("path_mean", torch.zeros(()))
        self.register_buffer("penalty", torch.zeros(()))


class DragGanRecipe:
    """The one stage.

    Args:
        networks: Both are trained.
        source: Source[Pictured]; those of a world of portraits have kinds.
        adversary: How hard the networks are held.
    """

    def __init__(self, networks: DragGan, source: Source[Pictured], adversary: Adversary | None = None) -> None:
        self.adversary = Adversary() if adversary is None else adversary
        self.networks, self.source = networks, source
        self.model = Duel(networks, self.adversary)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> DragGanBatch:
        """Pictures with their kinds."""
        samples, side = [self.source.sample(index) for index in indices], self.networks.config.network.resolution
        pictures = pictures_to_tensor(np.stack([fit_picture(sample.picture, side, how=Crop()) for sample in samples]))
        return DragGanBatch(pictures, torch.tensor([self._kind(sample) for sample in samples]))

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """All parameters, for a single optimizer; see `optimizers`."""
        return [{"params": list(self.networks.parameters())}]

    def optimizers(self, settings: FitSettings) -> dict[str, torch.optim.Optimizer]:
        """Adam for each network; lazy penalties are further updates, which shorter steps and memories make up for."""
        return {
            name: _adam(part, settings, every)
            for name, part, every in (
                ("generator", self.networks.generator, self.adversary.smooth_every),
                ("discriminator", self.networks.discriminator, self.adversary.penalise_every),
            )
        }

    def compiled_parts(self) -> Sequence[nn.Module]:
        """The two heavy parts; their penalties, which are differentiated twice, go around the compiler."""
        return (self.networks.generator.synthesis, self.networks.discriminator)

    def step(self, state: TrainState, batch: DragGanBatch) -> Mapping[str, float | Tensor]:
        """One update of each network, and the penalties that are due."""
        adversary, figures = self.adversary, {}
        generator, discriminator = self.networks.generator, self.networks.discriminator
        strength = self.model.strength

        def play(part: DragGanBatch) -> dict[str, Tensor]:
            made = generator.synthesis(self._styles(state, part.labels, follow=True), Noise.RANDOM)
            return {"loss": generator_loss(discriminator(self._shown(state, made), part.labels))}

        def judge(part: DragGanBatch) -> dict[str, Tensor]:
            with torch.no_grad():
                made = generator.synthesis(self._styles(state, part.labels), Noise.RANDOM)
            fake = discriminator(self._shown(state, made), part.labels)
            real = discriminator(self._shown(state, part.pictures), part.labels)
            strength.update(real.detach(), state.step)
            return {"loss": discriminator_loss(real, fake), "real": real.mean(), "fake": fake.mean()}

        with frozen(discriminator):
            figures["generator"] = descend(state, batch, play, "generator")["loss"]
            if adversary.path_weight and state.step % adversary.smooth_every == 0:
                descend(state, batch, lambda part: self._paths(state, part), "generator")
        with frozen(generator):
            figures |= descend(state, batch, judge, "discriminator")
            if adversary.gamma and state.step % adversary.penalise_every == 0:
                descend(state, batch, lambda part: self._r1(state, part), "discriminator")
        kept = {"paths": self.model.path_mean, "r1": self.model.penalty, "augmentation": strength.strength}
        return figures | {name: value.clone() for name, value in kept.items()}

    def preview(self, state: TrainState) -> Mapping[str, np.ndarray]:
        """Eight pictures of each kind, a row each."""
        network, rows = self.networks.config.network, []
        for label in range(max(network.labels, 1)):
            streams = draw_generators(label, 8)
            latents = torch.stack([torch.randn(network.latent_dim, generator=stream) for stream in streams])
            labels = torch.full((8,), label, device=state.device)
            made = self.networks.generator(latents.to(state.device), labels, psi=0.8)
            rows.append(np.concatenate(list(tensor_to_pictures(made)), axis=1))
        return {"draws": np.concatenate(rows)}

    def _kind(self, sample: Pictured) -> int:
        kinds = self.networks.config.kinds
        kind = getattr(sample, "kind", "")
        return kinds.index(kind) if kind in kinds else 0

    def _styles(self, state: TrainState, labels: Tensor, *, follow: bool = False) -> Tensor:
        """Styles of new latents, `(batch, styles, style_dim)`; mostly of two latents, coarse and fine."""
        network, mapping = self.networks.config.network, self.networks.generator.mapping
        shape, draw = (len(labels), network.latent_dim), state.generator
        first = mapping(torch.randn(shape, generator=draw, device=labels.device), labels)
        if follow:
            mapping.follow(first)
        wide = first[:, None].expand(-1, network.styles, -1)
        second = mapping(torch.randn(shape, generator=draw, device=labels.device), labels)
        cut = torch.randint(1, network.styles, (), generator=draw, device=labels.device)
        mixes = torch.rand((), generator=draw, device=labels.device) < _MIXING
        fine = (torch.arange(network.styles, device=labels.device) >= cut) & mixes
        return torch.where(fine[:, None], second[:, None], wide)

    def _shown(self, state: TrainState, pictures: Tensor) -> Tensor:
        """What the discriminator sees."""
        strength = self.model.strength.strength
        return augmented(pictures.float(), strength, state.generator, filtered=self.adversary.filtered)

    def _r1(self, state: TrainState, part: DragGanBatch) -> Tensor:
        forward = self.networks.discriminator.forward
        with torch.autocast(state.device.type, enabled=False):
            penalty = r1_penalty(lambda shown: forward(self._shown(state, shown), part.labels), part.pictures)
        self.model.penalty.copy_(penalty.detach())
        return penalty * (self.adversary.gamma / 2 * self.adversary.penalise_every)

    def _paths(self, state: TrainState, part: DragGanBatch) -> Tensor:
        with torch.autocast(state.device.type, enabled=False):
            styles = self._styles(state, part.labels[: max(len(part.labels) // 2, 1)])
            made = self.networks.generator.synthesis.forward(styles, Noise.RANDOM)
            noise = torch.randn(made.shape, generator=state.generator, device=made.device)
            lengths = path_lengths(made, styles, noise)
            penalty, mean = path_length_penalty(lengths, self.model.path_mean)
        self.model.path_mean.copy_(mean)
        return penalty * (self.adversary.path_weight * self.adversary.smooth_every)


def _adam(part: nn.Module, settings: FitSettings, every: int) -> torch.optim.Adam:
    """Adam at the settings' rate and memories, as they would be without lazy penalties every so many updates."""
    share = every / (every + 1)
    betas = (settings.betas[0] ** share, settings.betas[1] ** share)
    return torch.optim.Adam(part.parameters(), lr=settings.learning_rate * share, betas=betas, eps=1e-8, fused=True)


def draggan_recipe(model: nn.Module, source: Source[Pictured]) -> DragGanRecipe:
    """The recipe of a StyleGAN2."""
    if not isinstance(model, DragGan):
        raise TypeError(f"DragGAN's stage trains a DragGan, not a {type(model).__name__}")
    return DragGanRecipe(model, source)


STAGES = (
    Stage(
        name="adversary",
        recipe=draggan_recipe,
        settings=FitSettings(
            steps=20000, batch_size=16, learning_rate=0.0025, betas=(0.0, 0.99), weight_decay=0.0, clip_norm=None,
            ema_decay=0.998, precision=Precision.BF16, compile=True, save_every=250, preview_every=500,
        ),
        finetune=True,
    ),
)  # fmt: skip
