"""How the reader learns: single emoji with their groups and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from bottega.room import Stage
from bottega.systems.language.kv_compression.model import KvCompression, Reader
from bottega.systems.language.kv_compression.objective import Emojis, ReadingBatch, read_batch, reading_loss
from bottega.training import Cosine, FitSettings, Optimizer, TrainState, decay_groups, descend


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
