"""A draft without a model: what followed the last few tokens when they stood in the row before.

Source: the "prompt lookup" of arXiv:2304.04487, section 3 (copying from the input), without its given references.
"""

from __future__ import annotations

from collections.abc import Sequence

from bottega.errors import RequestError
from bottega.processes.decoding.drafts import Generators, Proposal
from bottega.processes.decoding.sampling import Sampling


class NgramDraft:
    """Looks for the row's last tokens earlier in the row, the longest match and of those the latest, and copies on.

    Args:
        longest: Tokens of the longest match that is looked for.
        shortest: Tokens of the shortest one, at least 1.
    """

    def __init__(self, longest: int = 3, shortest: int = 1) -> None:
        if not 1 <= shortest <= longest:
            raise RequestError.of("shortest", shortest, f"between 1 and longest, {longest}")
        self.longest, self.shortest = longest, shortest

    def begin(self, prompts: Sequence[Sequence[int]], capacity: int) -> None:
        """Nothing is kept."""

    def propose(
        self, held: Sequence[Sequence[int]], counts: Sequence[int], sampling: Sampling, generators: Generators
    ) -> list[Proposal]:
        """What followed in the row before; perhaps nothing."""
        return [
            Proposal(tokens=tuple(what_followed(row, count, self.longest, self.shortest)), source="n-gram")
            for row, count in zip(held, counts, strict=True)
        ]

    def select(self, rows: Sequence[int]) -> None:
        """Nothing is kept."""


def what_followed(row: Sequence[int], count: int, longest: int, shortest: int = 1) -> list[int]:
    """At most `count` tokens that followed when the row's last `longest` to `shortest` tokens stood in it before."""
    tokens = list(row)
    for size in range(min(longest, len(tokens) - 1), shortest - 1, -1):
        tail = tokens[-size:]
        for start in range(len(tokens) - size - 1, -1, -1):
            if tokens[start : start + size] == tail:
                return tokens[start + size : start + size + count]
    return []
