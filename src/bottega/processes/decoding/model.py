"""What every decoder of language needs of a model."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from bottega.layers import FullMemory, Memory


class LanguageModel(Protocol):
    """A causal model of token sequences: ids to the logits of the next ids."""

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        ...

    @property
    def context(self) -> int:
        """Longest sequence, in tokens."""
        ...

    def __call__(self, tokens: Tensor, memory: Memory | None = None, *, at: Tensor | None = None) -> Tensor:
        """Next-token logits.

        Args:
            tokens: Ids `(batch, tokens)`; with a memory, those behind what it has seen.
            memory: What was seen before; it then also holds `tokens`.
            at: Places `(batch, k)` in `tokens` whose logits are wanted; None wants all.

        Returns:
            `(batch, tokens or k, vocabulary)`.
        """
        ...

    def new_memory(self, batch: int, capacity: int | None = None) -> FullMemory:
        """An empty memory for rows of up to `capacity` tokens; None means the context."""
        ...
