"""How EVA learns: a small CLIP as teacher, masked pre-training on its features, and EVA-CLIP from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bottega.data import Captioned, Crop, Pictured, Source, fit_picture, pictures_to_tensor
from bottega.errors import RequestError
from bottega.networks import clip_normalise, local_contrastive_loss
from bottega.processes.masked import BlockMasks, block_masks, kept_patches
from bottega.room import Stage
from bottega.systems.vision.eva.config import MaskedConfig
from bottega.systems.vision.eva.model import EvaRoom
from bottega.systems.vision.eva.objective import masked_loss
from bottega.tokenizers import BpeTokenizer
from bottega.training import (
    Cosine,
    FitSettings,
    Optimizer,
    Precision,
    TrainState,
    decay_groups,
    descend,
    layer_rates,
    layered_groups,
    sample_generators,
)


def load_pictures(samples: Sequence[Pictured], size: int) -> Tensor:
    """Squares `(batch, 3, size, size)`, as the towers take them."""
    squares = np.stack([fit_picture(sample.picture, size, how=Crop()) for sample in samples])
    return clip_normalise(pictures_to_tensor(squares))


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Pictures `(batch, 3, size, size)`, tokens `(batch, context)`, and the patches that are read `(batch, kept)`."""

    pictures: Tensor
    tokens: Tensor
    kept: Tensor


@dataclass(frozen=True, slots=True)
class MaskedBatch:
    """Pictures `(batch, 3, size, size)` and what is hidden of them, bool `(batch, patches)`."""

    pictures: Tensor
    mask: Tensor


class TeacherLearner(nn.Module):
    """What the first stage trains: plain CLIP."""

    def __init__(self, room: EvaRoom) -> None:
        super().__init__()
        if room.teacher is None:
            raise RequestError("this size has no teacher of its own; train its later stages from published weights")
        self.teacher, self.clip = room.teacher, room.joined()

    def forward(self, batch: PairBatch) -> Tensor:
        """The loss of matching pictures with texts."""
        pictures = self.teacher(batch.pictures)
        return local_contrastive_loss(self.clip.read(batch.tokens), pictures, self.clip.log_scale)


class ClipLearner(nn.Module):
    """What the last stage trains: EVA-CLIP."""

    def __init__(self, room: EvaRoom) -> None:
        super().__init__()
        self.tower, self.clip = room.tower, room.joined()

    def forward(self, batch: PairBatch) -> Tensor:
        """The loss of matching pictures, some of their patches left out, with texts."""
        pictures = self.clip.projection(self.tower(batch.pictures, kept=batch.kept)[:, 0])
        return local_contrastive_loss(self.clip.read(batch.tokens), pictures, self.clip.log_scale)


class MaskedLearner(nn.Module):
    """What the second stage trains: the tower, and what is told of hidden patches. The teacher stays as it is."""

    def __init__(self, room: EvaRoom) -> None:
        super().__init__()
        if room.student is None:
            raise RequestError("this size has no masked pre-training; take eva-g, eva-l or tiny")
        self.tower, self.student = room.tower, room.student
        self._loss = partial(masked_loss, room)

    def forward(self, batch: MaskedBatch) -> dict[str, Tensor]:
        """The loss on what is hidden."""
        return self._loss(batch.pictures, batch.mask)


class PairRecipe:
    """Contrastive training on pictures with words.

    Args:
        room: The room's model; it gets a tokenizer of the source's words where it has none.
        source: Pictures with words.
        learner: The part that is trained.
        dropped: Share of the patches that is not read.
    """

    def __init__(
        self, room: EvaRoom, source: Source[Captioned], learner: TeacherLearner | ClipLearner, dropped: float
    ) -> None:
        self.room, self.source, self.model, self.dropped = room, source, learner, dropped
        if room.tokenizer is None:
            texts = (source.sample(index).caption for index in range(min(20_000, len(source))))
            room.tokenizer = BpeTokenizer.trained(texts, room.joined().text.config.vocabulary)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> PairBatch:
        """Pictures, their words, and the patches that are read."""
        tower, samples = self.room.config.tower, [self.source.sample(index) for index in indices]
        tokens = self.room.tokenize([sample.caption for sample in samples]).cpu()
        kept = kept_patches(tower.patches, self.dropped, sample_generators(generator, indices))
        return PairBatch(load_pictures(samples, tower.size), tokens, kept)

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay; each layer of the towers with its own rate, the text tower's smaller."""
        groups = decay_groups(self.model, settings, lambda name, _: "pos_embed" in name)
        clip = self.room.config.clip
        if clip is None or isinstance(self.model, TeacherLearner):
            return groups
        rates = layer_rates(self.model.tower, len(self.model.tower.blocks), clip.picture_decay)
        rates |= layer_rates(self.model.clip.text, clip.text.depth, clip.text_decay, clip.text_rate)
        return layered_groups(groups, rates, settings.learning_rate)

    def step(self, state: TrainState, batch: PairBatch) -> Mapping[str, float | Tensor]:
        """One update."""
        return descend(state, batch, self.model)


class MaskedRecipe:
    """Masked pre-training of the tower.

    Args:
        room: The room's model.
        source: Pictures; words are not read.
    """

    def __init__(self, room: EvaRoom, source: Source[Captioned]) -> None:
        self.room, self.source, self.model = room, source, MaskedLearner(room)
        side, masked = room.config.tower.side, room.config.masked
        hidden = round(side**2 * masked.share) if masked is not None else 0
        smallest = masked.smallest if isinstance(masked, MaskedConfig) else 1
        self.masks = BlockMasks(rows=side, columns=side, masked=hidden, smallest=smallest)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MaskedBatch:
        """Pictures, half of them mirrored, and what is hidden of them."""
        generators = sample_generators(generator, indices)
        pictures = load_pictures([self.source.sample(index) for index in indices], self.room.config.tower.size)
        mirrored = torch.stack([torch.rand((), generator=own) < 0.5 for own in generators])
        pictures = torch.where(mirrored[:, None, None, None], pictures.flip(-1), pictures)
        if isinstance(self.room.config.masked, MaskedConfig):
            return MaskedBatch(pictures, block_masks(self.masks, generators).flatten(1))
        patches = self.masks.rows * self.masks.columns
        order = torch.stack([torch.randperm(patches, generator=own) for own in generators])
        return MaskedBatch(pictures, order < self.masks.masked)

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay; vectors and positions without."""
        return decay_groups(self.model, settings, lambda name, _: "pos_embed" in name)

    def step(self, state: TrainState, batch: MaskedBatch) -> Mapping[str, float | Tensor]:
        """One update."""
        return descend(state, batch, self.model)


def teacher_recipe(model: nn.Module, source: Source[Captioned]) -> PairRecipe:
    """The recipe of the teacher and of the text tower."""
    room = room_of(model)
    return PairRecipe(room, source, TeacherLearner(room), dropped=0.0)


def masked_recipe(model: nn.Module, source: Source[Captioned]) -> MaskedRecipe:
    """The recipe of masked pre-training."""
    return MaskedRecipe(room_of(model), source)


def clip_recipe(model: nn.Module, source: Source[Captioned]) -> PairRecipe:
    """The recipe of EVA-CLIP, from what the tower holds: EVA where the stage before was run, else nothing."""
    room = room_of(model)
    clip = room.config.clip
    return PairRecipe(room, source, ClipLearner(room), dropped=0.0 if clip is None else clip.dropped)


def room_of(model: nn.Module) -> EvaRoom:
    """The room's model."""
    if not isinstance(model, EvaRoom):
        raise TypeError(f"these stages train an EvaRoom, not a {type(model).__name__}")
    return model


STAGES = (
    Stage(
        name="teacher",
        recipe=teacher_recipe,
        settings=FitSettings(
            steps=800, batch_size=256, learning_rate=2e-3, optimizer=Optimizer.MUON, warmup_steps=30,
            schedule=Cosine(final=0.02), weight_decay=0.05, betas=(0.9, 0.98), precision=Precision.BF16,
            save_every=200, workers=1,
        ),
    ),
    Stage(
        name="masked",
        recipe=masked_recipe,
        settings=FitSettings(
            steps=1200, batch_size=128, learning_rate=2e-3, optimizer=Optimizer.MUON, warmup_steps=30,
            schedule=Cosine(final=0.02), weight_decay=0.05, betas=(0.9, 0.98), clip_norm=3.0, precision=Precision.BF16,
            save_every=200, workers=1,
        ),
    ),
    Stage(
        name="clip",
        recipe=clip_recipe,
        settings=FitSettings(
            steps=2400, batch_size=256, learning_rate=2e-3, optimizer=Optimizer.MUON, warmup_steps=30,
            schedule=Cosine(final=0.02), weight_decay=0.05, betas=(0.9, 0.98), clip_norm=5.0, precision=Precision.BF16,
            save_every=200, workers=1,
        ),
        finetune=True,
    ),
)  # fmt: skip
"""The stages of the bundled size. EVA's own: AdamW at 1e-3, batches of 4096; EVA-CLIP's: LAMB at 4e-4, of 41,000."""
