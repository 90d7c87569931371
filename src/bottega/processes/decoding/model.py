"""What every decoder of language needs of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn, Protocol

from torch import Tensor

from bottega.errors import WeightsError
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


class TextTokens(Protocol):
    """Text to token ids and back, losing nothing."""

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        ...

    @property
    def start(self) -> int | None:
        """The id in front of a text, or None."""
        ...

    @property
    def end(self) -> int:
        """The id behind a text."""
        ...

    @property
    def pad(self) -> int:
        """The id that fills a batch."""
        ...

    @property
    def leads(self) -> bool:
        """Whether encoding puts a space in front of a text, which `text` takes away again."""
        ...

    def ids(self, text: str, *, start: bool = False, end: bool = False) -> list[int]:
        """The text's ids, with the start and the end token where wanted."""
        ...

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens are left out."""
        ...

    def token_bytes(self, number: int) -> bytes:
        """What a token adds to a text in UTF-8: part of a letter perhaps; nothing for special ids."""
        ...


class NoTokens:
    """The tokenizer of a model that came without one: whoever uses it is told so."""

    @property
    def vocabulary(self) -> int:
        """Unknown."""
        return self._missing()

    @property
    def start(self) -> int | None:
        """Unknown."""
        return self._missing()

    @property
    def end(self) -> int:
        """Unknown."""
        return self._missing()

    @property
    def pad(self) -> int:
        """Unknown."""
        return self._missing()

    @property
    def leads(self) -> bool:
        """Unknown."""
        return self._missing()

    def ids(self, text: str, *, start: bool = False, end: bool = False) -> list[int]:
        """Unknown."""
        return self._missing()

    def text(self, ids: Sequence[int]) -> str:
        """Unknown."""
        return self._missing()

    def token_bytes(self, number: int) -> bytes:
        """Unknown."""
        return self._missing()

    def _missing(self) -> NoReturn:
        raise WeightsError("these weights have no tokenizer; put tokenizer.json or tokenizer.model beside them")


class Speaker(Enum):
    """Who says a message of a conversation."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of a conversation.

    Args:
        speaker: Who says it.
        text: What is said.
    """

    speaker: Speaker
    text: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Language:
    """What a room with a language model hands to rooms that work on any language model.

    Args:
        model: The model. Its parameters are the room's own: a distiller copies it, a fine-tuning trains it.
        tokens: Its tokenizer.
        template: For a model that was taught to converse: a conversation to the prompt behind which the assistant's
            next message comes, which the end token closes. Raises `RequestError` for an order of speakers that the
            model was not taught.
    """

    model: LanguageModel
    tokens: TextTokens
    template: Callable[[Sequence[Message]], list[int]] | None = None
