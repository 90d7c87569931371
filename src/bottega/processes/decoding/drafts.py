"""Drafts: cheap guesses at the next tokens, which a larger model then accepts or rejects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bottega.layers import FullMemory
from bottega.processes.decoding.model import LanguageModel
from bottega.processes.decoding.passes import read_on, shared_start
from bottega.processes.decoding.sampling import Sampling, probabilities

Generators = Sequence[torch.Generator | None]
"""One a row; None where the likeliest token is taken."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Proposal:
    """What a draft proposes for one row.

    Args:
        tokens: The ids, perhaps none.
        chances: The distribution that each was drawn from, `(tokens, vocabulary)`; None where nothing was drawn, so
            that each token had all probability.
        source: Which draft it was, for people to read.
    """

    tokens: tuple[int, ...] = ()
    chances: Tensor | None = None
    source: str = ""


class Draft(Protocol):
    """Proposes the next tokens of rows that grow. `begin` comes first; then `propose` and `select` in any order."""

    def begin(self, prompts: Sequence[Sequence[int]], capacity: int) -> None:
        """Prepares for rows that begin with these prompts and grow up to `capacity` tokens."""
        ...

    def propose(
        self, held: Sequence[Sequence[int]], counts: Sequence[int], sampling: Sampling, generators: Generators
    ) -> list[Proposal]:
        """Proposes at most `counts[row]` tokens behind all tokens that each row holds."""
        ...

    def select(self, rows: Sequence[int]) -> None:
        """Keeps the given rows in that order."""
        ...


class ModelDraft:
    """A smaller language model as a draft, with a memory of its own.

    Args:
        model: Of the same vocabulary as the model that it drafts for.
        name: What its proposals are called.
    """

    def __init__(self, model: LanguageModel, name: str = "model") -> None:
        self.model, self.name = model, name
        self._memory: FullMemory | None = None
        self._read: list[list[int]] = []

    def begin(self, prompts: Sequence[Sequence[int]], capacity: int) -> None:
        """Makes an empty memory."""
        self._memory, self._read = self.model.new_memory(len(prompts), capacity), [[] for _ in prompts]

    def propose(
        self, held: Sequence[Sequence[int]], counts: Sequence[int], sampling: Sampling, generators: Generators
    ) -> list[Proposal]:
        """Writes `counts[row]` tokens; forgets first what was rejected of its last ones."""
        if self._memory is None:
            raise ValueError("begin comes before propose")
        known = [min(shared_start(read, row), len(row) - 1) for read, row in zip(self._read, held, strict=True)]
        self._memory.crop(known)
        texts = [list(row) for row in held]
        drawn: list[list[Tensor]] = [[] for _ in held]
        for step in range(max(counts)):
            logits = read_on(self.model, self._memory, texts, [len(text) - 1 for text in texts])[:, 0]
            self._read = [list(text) for text in texts]
            rows = [row for row, count in enumerate(counts) if step < count]
            before = [texts[row] for row in rows] if sampling.repetition_penalty != 1 else None
            chances = probabilities(logits[rows], sampling, before)
            for row, chance in zip(rows, chances, strict=True):
                generator = generators[row]
                token = (
                    chance.argmax() if generator is None else torch.multinomial(chance.cpu(), 1, generator=generator)
                )
                texts[row].append(int(token))
                drawn[row].append(chance)
        return [
            Proposal(
                tokens=tuple(text[len(row) :]), chances=torch.stack(chances) if chances else None, source=self.name
            )
            for text, row, chances in zip(texts, held, drawn, strict=True)
        ]

    def select(self, rows: Sequence[int]) -> None:
        """Keeps the given rows in that order."""
        if self._memory is not None:
            self._memory.select(rows)
        self._read = [self._read[row] for row in rows]


class RoutedDraft:
    """Several drafts, of which each row's prompt chooses one: by topic, by language, by user.

    Source: arXiv:2310.07177, section 4.3 (customized draft models by domain).

    Args:
        drafts: By name.
        route: A prompt to the name of its draft.
    """

    def __init__(self, drafts: Mapping[str, Draft], route: Callable[[Sequence[int]], str]) -> None:
        self.drafts, self.route = dict(drafts), route
        self._names: list[str] = []

    def begin(self, prompts: Sequence[Sequence[int]], capacity: int) -> None:
        """Sends each row to its draft."""
        self._names = [self.route(prompt) for prompt in prompts]
        for name, rows in self._rows().items():
            self.drafts[name].begin([prompts[row] for row in rows], capacity)

    def propose(
        self, held: Sequence[Sequence[int]], counts: Sequence[int], sampling: Sampling, generators: Generators
    ) -> list[Proposal]:
        """Asks each row's draft."""
        made: dict[int, Proposal] = {}
        for name, rows in self._rows().items():
            texts, most = [held[row] for row in rows], [counts[row] for row in rows]
            proposals = self.drafts[name].propose(texts, most, sampling, [generators[row] for row in rows])
            made |= dict(zip(rows, proposals, strict=True))
        return [made[row] for row in range(len(held))]

    def select(self, rows: Sequence[int]) -> None:
        """Keeps the given rows in that order."""
        for name, own in self._rows().items():
            kept = [own.index(row) for row in rows if self._names[row] == name]
            if kept:
                self.drafts[name].select(kept)
        self._names = [self._names[row] for row in rows]

    def _rows(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for row, name in enumerate(self._names):
            found.setdefault(name, []).append(row)
        return found
