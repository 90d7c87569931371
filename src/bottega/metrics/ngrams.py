"""Counts of short sequences as a language model: what a trained one must beat."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence


class NGrams:
    """An interpolated n-gram model with Witten and Bell's weights.

    A context counts as much as it was seen, and its shorter context as much as different tokens followed it; the
    shortest context gives every token the same probability.

    Args:
        order: Tokens of the longest sequences that are counted, at least 1.
        vocabulary: Number of token ids.

    Source: Witten and Bell, The zero-frequency problem, 1991, method C; interpolated as in Chen and Goodman, An
    empirical study of smoothing techniques for language modeling, 1998, section 2.6.
    """

    def __init__(self, order: int, vocabulary: int) -> None:
        if order < 1 or vocabulary < 1:
            raise ValueError(f"order {order} and vocabulary {vocabulary} must be at least 1")
        self.order, self.vocabulary = order, vocabulary
        self._followers: dict[tuple[int, ...], dict[int, int]] = defaultdict(dict)
        self._totals: dict[tuple[int, ...], int] = defaultdict(int)

    def learn(self, sequences: Iterable[Sequence[int]]) -> None:
        """Counts sequences of ids."""
        for ids in sequences:
            for place, token in enumerate(ids):
                for length in range(min(self.order - 1, place) + 1):
                    context = tuple(ids[place - length : place])
                    followers = self._followers[context]
                    followers[token] = followers.get(token, 0) + 1
                    self._totals[context] += 1

    def chance(self, context: Sequence[int], token: int) -> float:
        """The probability of a token behind a context, of which the last `order - 1` ids count."""
        found = 1.0 / self.vocabulary
        for length in range(min(self.order - 1, len(context)) + 1):
            seen = self._followers.get(tuple(context[len(context) - length :]))
            if seen is None:
                break
            total = self._totals[tuple(context[len(context) - length :])]
            found = (seen.get(token, 0) + len(seen) * found) / (total + len(seen))
        return found

    def log_chances(self, ids: Sequence[int], start: int = 0) -> list[float]:
        """The log-probability of each id from place `start` on, behind those before it."""
        lead = self.order - 1
        return [math.log(self.chance(ids[max(0, i - lead) : i], ids[i])) for i in range(start, len(ids))]
