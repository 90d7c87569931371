"""How the room's own networks learn: the prior over scans, the supervised rival, and the reader of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from bottega.data import Crop, fit_picture, pictures_to_tensor
from bottega.errors import RequestError
from bottega.room import Stage
from bottega.systems.diffusion.posterior.model import Posterior
from bottega.systems.diffusion.posterior.objective import (
    group_names,
    reader_loss,
    rival_loss,
    scan_loss,
    word_targets,
)
from bottega.training import Cosine, FitSettings, TrainState, decay_groups, descend
from bottega.worlds import EmojiWorld, Phantom, PhantomsWorld, Sample
from bottega.worlds.emoji import load_index


class Source(Protocol):
    """A world, or a folder of the user's: studies, phantoms, or anything with a `picture`, uint8 `(h, w, 3)`."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Any:
        """The sample at an index."""
        ...


@runtime_checkable
class Study(Protocol):
    """A sample that has a phantom for the networks of scans and an emoji for the reader."""

    def phantom(self, size: int) -> Phantom:
        """The phantom at a size."""
        ...

    def emoji(self, size: int) -> Sample:
        """The emoji at a size."""
        ...


@dataclass(frozen=True, slots=True)
class IndexedStudy:
    """The phantom and the emoji of an index."""

    index: int

    def phantom(self, size: int) -> Phantom:
        """See `Study`."""
        return PhantomsWorld(size=size).sample(self.index)

    def emoji(self, size: int) -> Sample:
        """See `Study`."""
        return EmojiWorld(size=size, scenes=0.0, augment=True).sample(self.index)


@dataclass(frozen=True, slots=True)
class Studies:
    """The default data: phantoms beside emoji."""

    length: int = 1_000_000

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int) -> IndexedStudy:
        """The study at an index."""
        return IndexedStudy(index)


@dataclass(frozen=True, slots=True)
class ScanBatch:
    """Densities `(batch, 1, size, size)` in [0, 1]."""

    density: Tensor


@dataclass(frozen=True, slots=True)
class ReaderBatch:
    """Pictures `(batch, 3, size, size)` in [-1, 1], groups `(batch,)`, words `(batch, words)`."""

    pictures: Tensor
    groups: Tensor
    words: Tensor


class ScanRecipe:
    """Training on densities: the prior over scans, or the rival.

    Args:
        model: What is trained, one of the room's networks.
        source: Studies, phantoms, or any pictures, whose grey is then the density.
        size: Side of a scan.
        loss: `(densities, generator)` to the loss.
    """

    def __init__(
        self, model: nn.Module, source: Source, size: int, loss: Callable[[Tensor, torch.Generator], Tensor]
    ) -> None:
        self.model, self.source, self.size, self.loss = model, source, size, loss

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> ScanBatch:
        """Densities."""
        rows = np.stack([density_of(self.source.sample(index), self.size) for index in indices])
        return ScanBatch(torch.from_numpy(rows)[:, None])

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Kernels with decay, vectors without."""
        return decay_groups(self.model, settings)

    def step(self, state: TrainState, batch: ScanBatch) -> Mapping[str, float | Tensor]:
        """One update."""
        return descend(state, batch, lambda part: self.loss(part.density, state.generator))


class ReaderRecipe:
    """Training of the reader on noisy emoji.

    Args:
        room: The room's model; its reader is trained.
        source: Studies, or samples of the emoji world.
    """

    def __init__(self, room: Posterior, source: Source) -> None:
        self.model, self.source = room.read(), source

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> ReaderBatch:
        """Pictures with their groups and words."""
        config = self.model.config
        samples = [emoji_of(self.source.sample(index), config.size) for index in indices]
        squares = np.stack([fit_picture(sample.picture, config.size, how=Crop()) for sample in samples])
        shown = [load_index()[sample.things[0].id] for sample in samples]
        groups = torch.tensor([group_names().index(emoji.group.lower()) for emoji in shown])
        pictures = pictures_to_tensor(squares)
        return ReaderBatch(pictures, groups, word_targets(shown, config.words))

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Kernels with decay, vectors without."""
        return decay_groups(self.model, settings)

    def step(self, state: TrainState, batch: ReaderBatch) -> Mapping[str, float | Tensor]:
        """One update."""

        def loss(part: ReaderBatch) -> Tensor:
            return reader_loss(self.model, part.pictures, part.groups, part.words, state.generator)

        return descend(state, batch, loss)


def density_of(sample: Any, size: int) -> np.ndarray:
    """A sample's density, float32 `(size, size)`."""
    if isinstance(sample, Study):
        sample = sample.phantom(size)
    if isinstance(sample, Phantom) and len(sample.density) == size:
        return sample.density
    return fit_picture(sample.picture, size, how=Crop()).mean(2, dtype=np.float32) / 255


def emoji_of(sample: Study | Sample, size: int) -> Sample:
    """A sample's emoji.

    Raises:
        RequestError: It is not one emoji.
    """
    if isinstance(sample, Study):
        sample = sample.emoji(size)
    if not isinstance(sample, Sample) or len(sample.things) != 1 or sample.things[0].id < 0:
        raise RequestError("the reader learns from single emoji; train it on its default data")
    return sample


def scan_recipe(model: nn.Module, source: Source) -> ScanRecipe:
    """The recipe of the prior over scans."""
    scans = room_of(model).scan()
    return ScanRecipe(scans, source, scans.config.size, lambda density, generator: scan_loss(scans, density, generator))


def rival_recipe(model: nn.Module, source: Source) -> ScanRecipe:
    """The recipe of the supervised rival.

    Raises:
        RequestError: This size has none.
    """
    rival = room_of(model).rival
    if rival is None:
        raise RequestError("this size has no supervised rival; use tiny")
    size = rival.operator.size
    return ScanRecipe(rival, source, size, lambda density, generator: rival_loss(rival, density, generator))


def reader_recipe(model: nn.Module, source: Source) -> ReaderRecipe:
    """The recipe of the reader."""
    return ReaderRecipe(room_of(model), source)


def room_of(model: nn.Module) -> Posterior:
    """The room's model."""
    if not isinstance(model, Posterior):
        raise TypeError(f"these stages train a Posterior, not a {type(model).__name__}")
    return model


STAGES = (
    Stage(
        name="scans",
        recipe=scan_recipe,
        settings=FitSettings(
            steps=800, batch_size=16, learning_rate=1e-3, warmup_steps=50, schedule=Cosine(final=0.01),
            weight_decay=0.0, betas=(0.9, 0.99), ema_decay=0.995,
        ),
        finetune=True,
    ),
    Stage(
        name="rival",
        recipe=rival_recipe,
        settings=FitSettings(
            steps=500, batch_size=16, learning_rate=1e-3, warmup_steps=50, schedule=Cosine(final=0.01),
            weight_decay=0.0, betas=(0.9, 0.99), ema_decay=0.995,
        ),
    ),
    Stage(
        name="reader",
        recipe=reader_recipe,
        settings=FitSettings(
            steps=500, batch_size=64, learning_rate=2e-3, warmup_steps=50, schedule=Cosine(final=0.01),
            weight_decay=0.01, betas=(0.9, 0.99), ema_decay=0.995,
        ),
    ),
)  # fmt: skip
