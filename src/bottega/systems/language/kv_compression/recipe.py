"""How the reader learns: single emoji with their groups and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bottega.data import pictures_to_tensor
from bottega.errors import RequestError
from bottega.room import Stage
from bottega.systems.language.kv_compression.config import WORDS
from bottega.systems.language.kv_compression.model import KvCompression, Reader
from bottega.systems.language.kv_compression.objective import reading_loss
from bottega.training import Cosine, FitSettings, Optimizer, TrainState, decay_groups, descend
from bottega.worlds import EmojiWorld, Sample
from bottega.worlds.emoji import emoji_class, load_index


class Emojis(Protocol):
    """A source of single emoji."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Sample:
        """The sample at an index."""
        ...


@dataclass(frozen=True, slots=True)
class ReadingBatch:
    """Pictures `(batch, 3, size, size)` in [-1, 1] and the right words `(batch, 2)`."""

    pictures: Tensor
    words: Tensor


def emojis(split: str = "train", seed: int = 0, size: int = 64) -> EmojiWorld:
    """Single emoji, moved a little for training."""
    return EmojiWorld(split=split, size=size, scenes=0.0, seed=seed, augment=split == "train")


def words_of(sample: Sample) -> tuple[int, int]:
    """The ids of a single emoji's group and class.

    Raises:
        RequestError: The picture shows no single emoji.
    """
    if len(sample.things) != 1 or not 0 <= sample.things[0].id < len(load_index()):
        raise RequestError.of("the picture", sample.caption, "a single emoji of the emoji world")
    emoji = load_index()[sample.things[0].id]
    return WORDS.index(emoji.group), WORDS.index(emoji_class(emoji))


def read_batch(source: Emojis, indices: Sequence[int]) -> ReadingBatch:
    """The samples of indices."""
    samples = [source.sample(index) for index in indices]
    pictures = pictures_to_tensor(np.stack([sample.picture for sample in samples]))
    return ReadingBatch(pictures, torch.tensor([words_of(sample) for sample in samples]))


class ReaderRecipe:
    """The one stage.

    Args:
        reader: What is trained.
        source: Single emoji in the size that the reader takes.
    """

    def __init__(self, reader: Reader, source: Emojis) -> None:
        self.model, self.source = reader, source

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> ReadingBatch:
        """Pictures with their words."""
        return read_batch(self.source, indices)

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay; vectors, positions and the table of words without."""
        return decay_groups(self.model, settings, lambda name, _: "pos_embed" in name or "token_embed" in name)

    def step(self, state: TrainState, batch: ReadingBatch) -> Mapping[str, float | Tensor]:
        """One update."""
        return descend(state, batch, lambda part: reading_loss(self.model, part.pictures, part.words))


def reader_recipe(model: nn.Module, source: Emojis) -> ReaderRecipe:
    """The recipe of the room's reader.

    Raises:
        RequestError: This size has no reader.
    """
    if not isinstance(model, KvCompression):
        raise TypeError(f"the stage trains a KvCompression's reader, not a {type(model).__name__}")
    return ReaderRecipe(model.eyes, source)


STAGES: Final = (
    Stage(
        name="reader",
        recipe=reader_recipe,
        settings=FitSettings(
            steps=480, batch_size=32, learning_rate=2e-3, warmup_steps=30, schedule=Cosine(final=0.02),
            weight_decay=0.05, betas=(0.9, 0.95), optimizer=Optimizer.MUON,
        ),
    ),
)  # fmt: skip
