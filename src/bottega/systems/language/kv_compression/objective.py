"""What the reader is trained to say: the right words of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bottega.data import pictures_to_tensor
from bottega.errors import RequestError
from bottega.systems.language.kv_compression.config import WORDS
from bottega.systems.language.kv_compression.model import ANSWERS, Reader
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


def reading_loss(reader: Reader, pictures: Tensor, words: Tensor) -> Tensor:
    """The mean negative log-likelihood of the right group, and of the right class behind it, in nats.

    Args:
        reader: The reader.
        pictures: `(batch, 3, size, size)` in [-1, 1].
        words: The right ids among `WORDS`, `(batch, 2)`.
    """
    logits = reader(pictures, words[:, 0]).float()
    parts = [
        F.cross_entropy(logits[:, place, allowed], words[:, place] - allowed.start)
        for place, allowed in enumerate(ANSWERS)
    ]
    return torch.stack(parts).mean()
