"""Figures: things drawn from nested flat pieces (a house with a door with a knob), in the unit circle's box.

A figure's proportions are drawn anew for every scene; the names of its pieces and key points are those of its class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bottega.worlds.dice import Dice
from bottega.worlds.shapes.outlines import PLAIN, box, moved

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Part:
    """A flat piece with smaller pieces on it or beside it.

    Args:
        name: What it is, in the singular; pieces of one figure with the same name have the same colour.
        outline: float `(corners, 2)`.
        parts: What lies on top of it, from below to above.
    """

    name: str
    outline: np.ndarray
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Figure:
    """One figure: its pieces, and its key points in the order of its class."""

    root: Part
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FigureClass:
    """A class of figures.

    Args:
        id: Its number, from 0.
        name: A noun in the singular.
        points: Names of its key points, in order, as seen while it stands upright.
        draw: Draws one of the class.
        held_out: Whether pictures of the training split never show it.
    """

    id: int
    name: str
    points: tuple[str, ...]
    draw: Callable[[Dice], Figure]
    held_out: bool


RIM = ("top", "right", "bottom", "left")
INNER = tuple(name for name in PLAIN if name != "ring")


def plain(name: str) -> Callable[[Dice], Figure]:
    """Draws a plain shape, mostly with one smaller shape on it, and often a third on that."""
    outline = PLAIN[name]
    center = {"triangle": (0.0, 0.26), "crescent": (-0.72, 0.0), "ring": (0.0, -0.75)}.get(name, (0.0, 0.0))
    room = {"triangle": 0.44, "crescent": 0.24, "ring": 0.2, "cross": 0.34, "star": 0.4, "heart": 0.5, "diamond": 0.44}

    def draw(dice: Dice) -> Figure:
        parts: tuple[Part, ...] = ()
        if dice.unit() < 0.8:
            first, scale = dice.pick(INNER), room.get(name, 0.6) * dice.between(0.7, 1.0)
            inner: tuple[Part, ...] = ()
            if dice.unit() < 0.6 and first != "crescent":
                second = dice.pick(INNER)
                inner = (Part(name=second, outline=moved(PLAIN[second], *center, scale * dice.between(0.35, 0.5))),)
            parts = (Part(name=first, outline=moved(PLAIN[first], *center, scale), parts=inner),)
        squeezed = outline * (dice.between(0.85, 1.0), dice.between(0.85, 1.0))
        return Figure(root=Part(name=name, outline=squeezed, parts=parts), points=extremes(squeezed))

    return draw


def extremes(outline: np.ndarray) -> tuple[Point, ...]:
    """The uppermost, rightmost, lowest and leftmost corner."""
    x, y = outline[:, 0], outline[:, 1]
    picked = outline[[y.argmin(), x.argmax(), y.argmax(), x.argmin()]]
    return tuple((float(right), float(down)) for right, down in picked)


def pane(name: str, left: float, top: float, right: float, bottom: float, inside: str, gap: float) -> Part:
    """A box with a smaller box in it."""
    inner = Part(name=inside, outline=box(left + gap, top + gap, right - gap, bottom - gap))
    return Part(name=name, outline=box(left, top, right, bottom), parts=(inner,))
