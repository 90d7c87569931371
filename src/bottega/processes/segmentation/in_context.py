"""Segmentation by example: a thing that is shown in some pictures is found in others.

Source: SegGPT, arXiv:2304.03284, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A picture in which the thing is marked.

    Args:
        picture: uint8 `(height, width, 3)`.
        mask: bool `(height, width)`, true on the thing.
    """

    picture: np.ndarray
    mask: np.ndarray

    def __post_init__(self) -> None:
        if self.mask.shape != self.picture.shape[:2]:
            raise ValueError(f"the mask is {self.mask.shape}, the picture {self.picture.shape[:2]}")


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """What was found of the thing in another picture.

    Args:
        mask: bool, of that picture's own size; all false where nothing was found.
        score: How sure the model is of what it marked, 0 to 1.
    """

    mask: np.ndarray
    score: float


class InContextSegmenter(Protocol):
    """A model that finds in other pictures what examples show. The studio and other rooms take it."""

    def find(self, examples: tuple[Example, ...], picture: np.ndarray) -> Likeness:
        """The same thing in another picture.

        Args:
            examples: One or more, each with the thing marked.
            picture: uint8 `(height, width, 3)`.
        """
        ...

    def follow(self, examples: tuple[Example, ...], frames: Iterable[np.ndarray]) -> Iterator[Likeness]:
        """The same thing in the frames of a film, one answer a frame; earlier answers may help later ones.

        Args:
            examples: As in `find`; often the first frame.
            frames: uint8 `(height, width, 3)` each, all of one size.
        """
        ...
