"""The vocabulary that all worlds share: samples, the things in them, questions with exact answers, and clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

Color = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A box in pixels: columns `left` to `right - 1`, rows `top` to `bottom - 1`."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def center(self) -> tuple[float, float]:
        """Column and row of the middle."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """One thing in a picture.

    Args:
        name: What it is, in words.
        id: Its number in the world's list (the tile for emoji; -1 for worlds without a list).
        box: The tight box of its visible pixels.
        depth: 0 for the nearest thing; a thing hides those of greater depth where they overlap.
    """

    name: str
    id: int
    box: Box
    depth: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question about a picture and its only right answer."""

    text: str
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A picture with everything that is known about it.

    Args:
        picture: uint8 `(height, width, 3)`.
        caption: A true sentence or name, in lower case.
        things: What is in the picture.
        masks: bool `(things, height, width)`: the pixels that each thing covers visibly. Masks do not overlap.
        questions: Questions with exact answers.
    """

    picture: np.ndarray
    caption: str
    things: tuple[Thing, ...]
    masks: np.ndarray
    questions: tuple[Question, ...] = ()

    @property
    def depth_order(self) -> tuple[int, ...]:
        """Positions in `things` from the nearest to the farthest."""
        return tuple(sorted(range(len(self.things)), key=lambda position: self.things[position].depth))


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """A short film with everything that is known about it.

    Args:
        frames: uint8 `(time, height, width, 3)`.
        caption: A true sentence, in lower case.
        things: The things of each frame. Outside the picture a thing has an empty mask and an empty box.
        masks: One bool array `(things, height, width)` for each frame.
        positions: One float array `(things, 2)` for each frame: column and row of the centres, in pixels.
        velocities: One float array `(things, 2)` for each frame: pixels per frame in the world, without the camera.
        camera: float `(time, 2)`: column and row of the world point at the picture's top left corner.
        cuts: Frames at which a new shot begins; 0 is not listed.
        questions: Questions with exact answers.
    """

    frames: np.ndarray
    caption: str
    things: tuple[tuple[Thing, ...], ...]
    masks: tuple[np.ndarray, ...]
    positions: tuple[np.ndarray, ...]
    velocities: tuple[np.ndarray, ...]
    camera: np.ndarray
    cuts: tuple[int, ...]
    questions: tuple[Question, ...] = ()


Item_co = TypeVar("Item_co", covariant=True)


class World(Protocol[Item_co]):
    """An endless source of samples (or clips), each a function of the world's settings and an index alone."""

    def sample(self, index: int) -> Item_co:
        """The sample at any index from 0; the same bits whatever was asked for before."""
        ...

    def batch(self, indices: Sequence[int]) -> Sequence[Item_co]:
        """The samples at these indices."""
        ...
