"""What decoders of several tokens a pass share: the task, and a pass over rows of different lengths."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.layers import FullMemory
from bottega.processes.decoding.generate import Stop, never, require_room
from bottega.processes.decoding.model import LanguageModel
from bottega.processes.decoding.sampling import GREEDY, Sampling

Text = TypeVar("Text")


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Prompts to be continued, and how.

    Args:
        prompts: Ids of each row, at least one.
        most: Most new tokens of a row.
        end: Id that completes a row, or None.
        sampling: How tokens are drawn.
        generators: One a row; may be empty for greedy sampling.
        stop: Completes a row for other reasons.
    """

    prompts: Sequence[Sequence[int]]
    most: int
    end: int | None = None
    sampling: Sampling = GREEDY
    generators: Sequence[torch.Generator] = ()
    stop: Stop = never

    def __post_init__(self) -> None:
        if self.most < 1:
            raise RequestError.of("most", self.most, "at least 1 new token")
        if not self.sampling.greedy and len(self.generators) != len(self.prompts):
            raise RequestError.of("generators", len(self.generators), f"one for each of {len(self.prompts)} prompts")

    def check(self, model: LanguageModel) -> None:
        """Refuses prompts that are empty or leave no room in the model's context.

        Raises:
            RequestError: Such a prompt, or none at all.
        """
        require_room(model, self.prompts)
        if min(len(prompt) for prompt in self.prompts) < 1:
            raise RequestError("a prompt has no tokens; write at least one word, or use a model with a start token")

    def room(self, row: int, context: int) -> int:
        """New tokens that a row may have: the last one need not be read any more."""
        return min(self.most, context - len(self.prompts[row]) + 1)

    def generator(self, row: int) -> torch.Generator | None:
        """The row's randomness; None where the likeliest token is taken."""
        return None if self.sampling.greedy else self.generators[row]

    def append(self, row: int, written: list[int], new: Sequence[int], room: int) -> bool:
        """Appends new tokens to a row's text up to its end; returns whether it ended other than by its length."""
        for token in new:
            written.append(token)
            if token == self.end or self.stop(row, written):
                return True
            if len(written) == room:
                return False
        return False


def read_on(model: LanguageModel, memory: FullMemory, rows: Sequence[Sequence[int]], first: Sequence[int]) -> Tensor:
    """Reads what the memory has not seen of each row, all rows in one pass.

    Args:
        model: The model.
        memory: Holds the beginning of each row; afterwards all of it.
        rows: All tokens of each row.
        first: For each row, the first token whose logits are wanted; the memory has not seen it.

    Returns:
        `(rows, width, vocabulary)`: at `[row, i]` the logits behind the row's token `first[row] + i`. The width fits
        the row with most of them; what lies beyond the end of a shorter row means nothing.
    """
    seen, device = memory.lengths, memory.keys.device
    missing = [len(row) - length for row, length in zip(rows, seen, strict=True)]
    tokens = torch.zeros(len(rows), max(missing), dtype=torch.long)
    for place, (row, length) in enumerate(zip(rows, seen, strict=True)):
        tokens[place, : len(row) - length] = torch.tensor(list(row[length:]), dtype=torch.long)
    width = max(len(row) - start for row, start in zip(rows, first, strict=True))
    begin = torch.tensor([start - length for start, length in zip(first, seen, strict=True)])[:, None]
    at = (begin + torch.arange(width)).clamp(0, tokens.shape[1] - 1)
    logits = model(tokens.to(device), memory, at=at.to(device))
    memory.crop([len(row) for row in rows])  # what was padded is forgotten
    return logits


def shared_start(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning of two texts."""
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))


def padded_places(rows: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Texts as a batch for training on some of their tokens.

    Args:
        rows: Ids of each text.
        places: Indices of the tokens that count in each, from 1 on.

    Returns:
        Ids without the last `(rows, longest - 1)`; the places `(rows, most)` whose logits are of the tokens that
        count; and 1 where such a place is one, `(rows, most)`.
    """
    pad = torch.nn.utils.rnn.pad_sequence
    at = [torch.tensor(list(own), dtype=torch.long) - 1 for own in places]
    tokens = pad([torch.tensor(list(row[:-1]), dtype=torch.long) for row in rows], batch_first=True)
    return tokens, pad(at, batch_first=True), pad([torch.ones(len(own)) for own in at], batch_first=True)


def finished(steps: Iterable[list[Text]]) -> list[Text]:
    """The texts at the end of a generator that yields them while they grow."""
    return deque(steps, maxlen=1).pop()
