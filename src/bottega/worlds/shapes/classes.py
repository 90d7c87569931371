"""All classes of figures, and those that training never sees."""

from __future__ import annotations

from functools import lru_cache

from bottega.errors import RequestError
from bottega.worlds.shapes.figure_library import LIBRARY
from bottega.worlds.shapes.figures import RIM, FigureClass, plain
from bottega.worlds.shapes.outlines import PLAIN

HELD_OUT = frozenset({"rocket", "mushroom", "clock", "snowman", "star", "hexagon"})


@lru_cache(maxsize=1)
def figure_classes() -> tuple[FigureClass, ...]:
    """All classes, in order of their numbers."""
    shapes = ((name, RIM, plain(name)) for name in PLAIN)
    return tuple(
        FigureClass(id=number, name=name, points=points, draw=draw, held_out=name in HELD_OUT)
        for number, (name, points, draw) in enumerate((*LIBRARY, *shapes))
    )


def figure_class(name: str) -> FigureClass:
    """A class by its name.

    Raises:
        RequestError: There is none of this name.
    """
    for kind in figure_classes():
        if kind.name == name:
            return kind
    raise RequestError.of("figure", name, f"one of {', '.join(kind.name for kind in figure_classes())}")


@lru_cache(maxsize=3)
def classes_of(split: str) -> tuple[FigureClass, ...]:
    """The classes that a scene of this split is about: "train", "heldout" or "all"."""
    return tuple(kind for kind in figure_classes() if split == "all" or kind.held_out == (split == "heldout"))
