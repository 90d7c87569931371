"""A picture of nested shapes with everything that is known about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bottega.worlds.pixels import tight_box
from bottega.worlds.sample import Sample, Thing


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A whole, a part or a sub-part in a picture.

    Args:
        name: What it is: "red house" for a whole, "door" for a part.
        kind: The number of the class of its whole (see `figure_classes`).
        level: 0 for a whole, 1 for a part, 2 for a sub-part.
        parent: The number of the piece that it belongs to; -1 for a whole.
        whole: The number of the whole that it belongs to; its own for a whole.
    """

    name: str
    kind: int
    level: int
    parent: int
    whole: int


@lru_cache(maxsize=512)
def belonging(pieces: tuple[Piece, ...]) -> np.ndarray:
    """Which labels belong to which piece: bool `(pieces, 1 + pieces)`; label 0 is the ground, n + 1 is piece n."""
    member = np.zeros((len(pieces), 1 + len(pieces)), dtype=bool)
    for number in range(len(pieces)):
        holder = number
        while holder >= 0:
            member[holder, 1 + number] = True
            holder = pieces[holder].parent
    return member


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NestedScene:
    """A picture of figures with parts and sub-parts, and the exact answers.

    Args:
        picture: uint8 `(height, width, 3)`.
        caption: A true sentence, in lower case.
        pieces: All that the scene is made of, also what is not seen; two views of one scene have the same pieces.
        labels: uint8 `(height, width)`: 0 for the ground, n + 1 where piece n itself is on top.
        depth: float32 `(height, width)` in metres.
        keypoints: One float32 `(points, 2)` per whole, in order of the wholes: columns and rows in pixels, in the order
            of the class (`FigureClass.points`), also those outside the picture or hidden.
        distances: Depth of the middles of the wholes, in metres.
    """

    picture: np.ndarray
    caption: str
    pieces: tuple[Piece, ...]
    labels: np.ndarray
    depth: np.ndarray
    keypoints: tuple[np.ndarray, ...]
    distances: tuple[float, ...]

    @property
    def wholes(self) -> tuple[int, ...]:
        """Numbers of the pieces that are wholes."""
        return tuple(number for number, piece in enumerate(self.pieces) if piece.level == 0)

    @property
    def areas(self) -> np.ndarray:
        """Visible pixels of each piece with all that belongs to it: int64 `(pieces,)`."""
        counts = np.bincount(self.labels.reshape(-1), minlength=1 + len(self.pieces))
        return belonging(self.pieces) @ counts

    def masks(self, numbers: Sequence[int] | None = None) -> np.ndarray:
        """Where pieces are seen, with their parts and sub-parts.

        Args:
            numbers: Which pieces; None for all.

        Returns:
            bool `(pieces, height, width)`; a mask may be empty. A part's mask lies in its whole's.
        """
        member = belonging(self.pieces)
        return (member if numbers is None else member[list(numbers)])[:, self.labels]

    def seen(self, least: int = 1) -> tuple[int, ...]:
        """Numbers of the pieces of which at least so many pixels are seen."""
        return tuple(int(number) for number in np.flatnonzero(self.areas >= least))

    @property
    def semantic(self) -> np.ndarray:
        """uint8 `(height, width)`: 0 for the ground, 1 + the number of the class of the whole on top."""
        return np.array([0, *(1 + piece.kind for piece in self.pieces)], dtype=np.uint8)[self.labels]

    @property
    def instances(self) -> np.ndarray:
        """uint8 `(height, width)`: 0 for the ground, 1 + the place of the whole in `wholes`."""
        order = {number: place for place, number in enumerate(self.wholes)}
        return np.array([0, *(1 + order[piece.whole] for piece in self.pieces)], dtype=np.uint8)[self.labels]

    def named(self, name: str) -> np.ndarray:
        """Where pieces of this name are seen ("door", "red house"): bool `(height, width)`."""
        numbers = [number for number, piece in enumerate(self.pieces) if piece.name == name]
        return np.any(self.masks(numbers), axis=0)

    def points_seen(self, place: int) -> np.ndarray:
        """Which key points of the whole at this place of `wholes` lie on its visible pixels: bool `(points,)`."""
        points = np.floor(self.keypoints[place]).astype(int)
        height, width = self.labels.shape
        inside = (points >= 0).all(axis=1) & (points < (width, height)).all(axis=1)
        columns, rows = np.clip(points[:, 0], 0, width - 1), np.clip(points[:, 1], 0, height - 1)
        return inside & (self.instances[rows, columns] == place + 1)

    @property
    def things(self) -> tuple[Thing, ...]:
        """The wholes that are seen."""
        return self.sample().things

    def sample(self) -> Sample:
        """The same scene as the other worlds of pictures tell it: whole figures, their masks and boxes."""
        areas = self.areas
        kept = [(place, number) for place, number in enumerate(self.wholes) if areas[number]]
        order = sorted((place for place, _ in kept), key=lambda place: self.distances[place])
        masks = self.masks([number for _, number in kept])
        things = tuple(
            Thing(
                name=self.pieces[number].name, id=self.pieces[number].kind, box=tight_box(mask),
                depth=order.index(place),
            )
            for (place, number), mask in zip(kept, masks, strict=True)
        )  # fmt: skip
        return Sample(picture=self.picture, caption=self.caption, things=things, masks=masks)
