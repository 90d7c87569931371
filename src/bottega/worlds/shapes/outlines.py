"""Outlines of flat pieces as polygons, float64 `(corners, 2)`, x to the right and y down."""

from __future__ import annotations

import math

import numpy as np

from bottega.worlds.shapes.drawing import cross_corners, heart_corners, regular_corners

ROUND = 28  # corners of a round outline


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """An upright rectangle."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def corners(*points: tuple[float, float]) -> np.ndarray:
    """Any polygon."""
    return np.array(points)


def sector(
    x: float, y: float, across: float, along: float, first_degrees: float = 0.0, last_degrees: float = 360.0
) -> np.ndarray:
    """The part of an ellipse's rim between two angles (0 to the right, 90 down), closed by a chord."""
    angles = np.deg2rad(np.linspace(first_degrees, last_degrees, ROUND, endpoint=last_degrees - first_degrees < 360))
    return np.stack([x + across * np.cos(angles), y + along * np.sin(angles)], axis=1)


def oval(x: float, y: float, across: float, along: float | None = None) -> np.ndarray:
    """An ellipse with half axes `across` and `along` (a disk without the second)."""
    return sector(x, y, across, across if along is None else along)


def bar(start: tuple[float, float], end: tuple[float, float], width: float, ends: float = 0.5) -> np.ndarray:
    """A limb between two points, its ends pointed by `ends` widths."""
    (x, y), (right, down) = start, (end[0] - start[0], end[1] - start[1])
    length = math.hypot(right, down) or 1.0
    a, b = right / length * width / 2, down / length * width / 2
    tip = 2 * ends
    return np.array(
        [
            (x - b, y + a),
            (x - tip * a, y - tip * b),
            (x + b, y - a),
            (end[0] + b, end[1] - a),
            (end[0] + tip * a, end[1] + tip * b),
            (end[0] - b, end[1] + a),
        ]
    )


def ring(inner: float) -> np.ndarray:
    """The unit ring around a hole of radius `inner`: both rims, joined by a seam."""
    rim = oval(0.0, 0.0, 1.0)
    return np.concatenate([rim, rim[:1], inner * rim[:1], inner * rim[::-1]])


def crescent() -> np.ndarray:
    """A moon, open to the right."""
    outer = sector(-0.1, 0.0, 1.0, 1.0, 60.0, 300.0)
    inner = sector(0.4, 0.0, 0.87, 0.87, 277.0, 83.0)
    return np.concatenate([outer, inner])


def moved(outline: np.ndarray, x: float, y: float, scale: float) -> np.ndarray:
    """An outline made smaller and put elsewhere."""
    return outline * scale + (x, y)


PLAIN: dict[str, np.ndarray] = {
    "disk": oval(0.0, 0.0, 0.95),
    "square": box(-0.82, -0.82, 0.82, 0.82),
    "triangle": corners((0.0, -0.9), (1.0, 0.84), (-1.0, 0.84)),
    "cross": cross_corners(),
    "star": regular_corners(5, inner=0.45),
    "ring": ring(0.5),
    "heart": heart_corners(),
    "diamond": corners((0.0, -1.0), (0.68, 0.0), (0.0, 1.0), (-0.68, 0.0)),
    "hexagon": regular_corners(6, turn_degrees=30.0),
    "crescent": crescent(),
}
"""Plain shapes that fill the unit circle's box, by name."""
