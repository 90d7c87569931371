"""Which draft a prompt goes to: naive Bayes over its tokens.

Source of the task: arXiv:2310.07177, section 4.3; the classifier is ours, and the simplest that works.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from bottega.errors import RequestError


class TokenRouter:
    """Prompts to names, learned from prompts with names, one at a time: it may go on learning while it serves.

    Args:
        vocabulary: Number of token ids.
        examples: Prompts with the names where they belong.
    """

    def __init__(self, vocabulary: int, examples: Iterable[tuple[Sequence[int], str]] = ()) -> None:
        self.vocabulary = vocabulary
        self._counts: dict[str, Counter[int]] = {}
        self._prompts: Counter[str] = Counter()
        for prompt, name in examples:
            self.learn(prompt, name)

    def learn(self, prompt: Sequence[int], name: str) -> None:
        """Takes one example in."""
        self._counts.setdefault(name, Counter()).update(prompt)
        self._prompts[name] += 1

    def __call__(self, prompt: Sequence[int]) -> str:
        """The likeliest name.

        Raises:
            RequestError: No example was seen.
        """
        if not self._counts:
            raise RequestError("the router has seen no example; give it prompts with their names first")
        return max(self._counts, key=lambda name: self._score(prompt, name))

    def _score(self, prompt: Sequence[int], name: str) -> float:
        counts = self._counts[name]
        total = counts.total() + self.vocabulary
        return math.log(self._prompts[name]) + sum(math.log((counts[token] + 1) / total) for token in prompt)
