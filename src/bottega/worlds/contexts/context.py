"""A context: several pictures that show the same things, or things of the same classes, and where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Context:
    """Pictures with one meaning of labels.

    Args:
        pictures: uint8 `(pictures, height, width, 3)`.
        labels: uint8 `(pictures, height, width)`: 0 where nothing of the context is, n + 1 where what `names[n]` says.
        names: What the labels mean, in words.
        same: Whether the labels mean the same things in every picture, and not things of the same classes.
    """

    pictures: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    same: bool

    def seen(self, least: float = 0.0) -> np.ndarray:
        """Which labels are seen in which picture, bool `(pictures, names)`: on more than this share of its pixels."""
        count = len(self.names)
        shares = [np.bincount(one.reshape(-1), minlength=count + 1)[1 : count + 1] / one.size for one in self.labels]
        return np.array(shares) > least


def renumber(labels: np.ndarray, kept: list[int]) -> np.ndarray:
    """Labels of which only some are kept, as 1, 2, ...; the rest becomes 0.

    Args:
        labels: uint8, of any shape.
        kept: The labels to keep, in order of their new numbers.
    """
    table = np.zeros(256, dtype=np.uint8)
    for number, label in enumerate(kept, 1):
        table[label] = number
    return table[labels]
