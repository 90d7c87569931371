"""Points in the plane as pictures: fields of arrows, maps of values, dots, and curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
PAPER, INK, FAINT = (250, 249, 246), (40, 38, 35), (196, 192, 184)
MARK = (198, 60, 44)
LINES: tuple[Color, ...] = ((33, 102, 172), (198, 60, 44), (60, 140, 80), (150, 100, 180))
HEAT = np.array([(20, 14, 54), (98, 25, 108), (183, 55, 84), (244, 125, 45), (252, 240, 164)], dtype=np.float64)
"""Dark to bright."""
MARGIN = 44


@dataclass(frozen=True, kw_only=True, slots=True)
class Plane:
    """A square of the plane and the picture of it.

    Args:
        span: The square reaches from -span to span in both directions.
        size: Side of the picture in pixels.
    """

    span: float
    size: int

    def grid(self, count: int) -> np.ndarray:
        """`count` x `count` even points, float64 `(count**2, 2)`, by rows from the top, within the square."""
        places = (np.arange(count) + 0.5) / count * 2 * self.span - self.span
        x, y = np.meshgrid(places, places[::-1])
        return np.stack((x.ravel(), y.ravel()), axis=1)

    def pixel(self, point: Sequence[float]) -> tuple[float, float]:
        """Column and row of a point."""
        x, y = point
        return (x / self.span + 1) / 2 * self.size, (1 - y / self.span) / 2 * self.size


def heat(values: np.ndarray, plane: Plane, low: float, high: float) -> Image.Image:
    """A map of values `(n, n)`, dark at `low` and bright at `high`."""
    place = np.clip((values - low) / (high - low), 0, 1) * (len(HEAT) - 1)
    first = np.minimum(place.astype(int), len(HEAT) - 2)
    part = (place - first)[..., None]
    colors = HEAT[first] * (1 - part) + HEAT[first + 1] * part
    image = Image.fromarray(colors.round().astype(np.uint8))
    return image.resize((plane.size, plane.size), Image.Resampling.BILINEAR)


def shade(values: np.ndarray, plane: Plane) -> Image.Image:
    """A faint map of a density `(n, n)`: paper where it is 0."""
    part = (values / values.max())[..., None] ** 0.5 * 0.45
    colors = np.array(PAPER) * (1 - part) + np.array((120, 160, 190)) * part
    image = Image.fromarray(colors.round().astype(np.uint8))
    return image.resize((plane.size, plane.size), Image.Resampling.BILINEAR)


def arrows(image: Image.Image, plane: Plane, points: np.ndarray, vectors: np.ndarray, count: int) -> None:
    """Arrows of `count` to a side at points `(n, 2)`; lengths grow with the root of the vectors', up to their cell."""
    draw, longest = ImageDraw.Draw(image), float(np.linalg.norm(vectors, axis=1).max())
    cell = plane.size / count
    for point, vector in zip(points, vectors, strict=True):
        length = math.hypot(*vector)
        reach = cell * 0.95 * math.sqrt(length / longest) if longest > 0 else 0.0
        if reach < 1:
            continue
        column, row = plane.pixel(point)
        dx, dy = vector[0] / length * reach / 2, -vector[1] / length * reach / 2
        draw.line((column - dx, row - dy, column + dx, row + dy), fill=INK, width=1)
        wing = min(4.0, reach / 3)
        angle = math.atan2(dy, dx)
        for turn in (2.6, -2.6):
            end = (column + dx + wing * math.cos(angle + turn), row + dy + wing * math.sin(angle + turn))
            draw.line((column + dx, row + dy, *end), fill=INK, width=1)


def dots(image: Image.Image, plane: Plane, points: np.ndarray, color: Color, radius: float = 1.0) -> None:
    """Dots at points `(n, 2)`."""
    draw = ImageDraw.Draw(image)
    for point in points:
        column, row = plane.pixel(point)
        draw.ellipse((column - radius, row - radius, column + radius, row + radius), fill=color)


def curves(lines: Mapping[str, Sequence[tuple[float, float]]], size: int, across: str, up: str) -> np.ndarray:
    """Curves through points `(x, y)` above 0, both axes in powers of two, with their names.

    Args:
        lines: Points of each curve, by name.
        size: Side of the picture in pixels.
        across: What x is.
        up: What y is.

    Returns:
        uint8 `(size, size, 3)`.
    """
    image = Image.new("RGB", (size, size), PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    most = max(math.log2(value) for line in lines.values() for point in line for value in point)
    room = size - 2 * MARGIN

    def place(x: float, y: float) -> tuple[float, float]:
        return MARGIN + math.log2(x) / most * room, size - MARGIN - math.log2(max(y, 1.0)) / most * room

    for power in range(int(most) + 1):
        column, row = place(2**power, 2**power)
        draw.line((column, size - MARGIN, column, MARGIN), fill=FAINT)
        draw.line((MARGIN, row, size - MARGIN, row), fill=FAINT)
        draw.text((column, size - MARGIN + 5), str(2**power), fill=INK, font=font, anchor="mt")
        draw.text((MARGIN - 6, row), str(2**power), fill=INK, font=font, anchor="rm")
    draw.text((size / 2, size - 6), across, fill=INK, font=font, anchor="mb")
    draw.text((MARGIN, MARGIN - 12), up, fill=INK, font=font, anchor="lb")
    for number, (name, line) in enumerate(lines.items()):
        color = LINES[number % len(LINES)]
        draw.line([place(x, y) for x, y in line], fill=color, width=3)
        x, y = place(*line[-1])
        draw.text((x - 4, y - 6 - 16 * number * (line[-1][1] <= 1)), name, fill=color, font=font, anchor="rb")
    return np.asarray(image)
