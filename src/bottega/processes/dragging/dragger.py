"""What a system offers to those who let people drag: sessions, begun from what the person has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bottega.processes.dragging.session import DragSession


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """Begin with a picture that the model draws by itself.

    Args:
        seed: Equal seeds draw equal pictures.
        kind: One of the dragger's `kinds`; empty for its first, or where there are none.
    """

    seed: int
    kind: str = ""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Given:
    """Begin with somebody's picture, which the model looks for in itself (inversion).

    Args:
        picture: uint8 `(height, width, 3)`; a model may cut and resize it to its own square.
        kind: As in `Drawn`.
    """

    picture: np.ndarray
    kind: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Worded:
    """Begin with a picture that the model draws of a sentence.

    Args:
        text: The sentence.
        seed: Equal seeds draw equal pictures.
    """

    text: str
    seed: int


Start = Drawn | Given | Worded
Told = Callable[[int, int, str], None]
"""Hears steps done, steps in all and what is being done, while a session is prepared; it may raise to end that."""


class Dragger(Protocol):
    """A loaded model whose pictures can be dragged."""

    @property
    def size(self) -> int:
        """Side of its pictures in pixels."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds of pictures that it draws; empty where there is only one."""
        ...

    @property
    def reads(self) -> bool:
        """Whether it draws sentences (`Worded`)."""
        ...

    def begin(self, start: Start, told: Told) -> DragSession:
        """A picture, ready to be dragged.

        Raises:
            RequestError: The model takes no such start.
        """
        ...
