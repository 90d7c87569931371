"""A lesson: two pictures with answers to the same question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bottega.processes.painting import PaintTask


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Study:
    """A picture and the answer to one question about it; only the answer's own field is there.

    Args:
        picture: uint8 `(height, width, 3)`.
        classes: int64 `(height, width)`: numbers of classes, 0 for the ground; -1 is ignored.
        instances: uint8 `(height, width)`: 0 for the ground, then things.
        depth: float32 `(height, width)` in metres; 0 where it is unknown.
        points: float32 `(count, 3)`: column, row, and 1 where the point is in the picture, otherwise 0.
        clean: uint8 `(height, width, 3)`: the picture without its damage.
        painted: uint8 `(height, width, 3)`: an answer that was painted already.
    """

    picture: np.ndarray
    classes: np.ndarray | None = None
    instances: np.ndarray | None = None
    depth: np.ndarray | None = None
    points: np.ndarray | None = None
    clean: np.ndarray | None = None
    painted: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lesson:
    """An example and a query of one task."""

    task: PaintTask
    example: Study
    query: Study
