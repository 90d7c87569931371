"""Small figures drawn by Pillow: matrices as coloured cells, curves, and clouds of points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT = (250, 249, 246), (40, 38, 35), (205, 202, 196)
COLD, WARM = (33, 102, 172), (178, 24, 43)
COLORS = (
    (33, 102, 172),
    (202, 80, 30),
    (27, 120, 55),
    (118, 42, 131),
    (140, 110, 20),
    (20, 130, 140),
    (90, 90, 90),
    (200, 60, 150),
    (90, 160, 230),
    (150, 190, 40),
)
FONT_SIZE, CELL, MARGIN = 13, 46, 12
PLOT_WIDTH, PLOT_HEIGHT = 520, 320


def heat_map(
    values: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str, form: str = "{:+.0%}"
) -> np.ndarray:
    """A matrix as cells from blue (least) over paper (zero) to red (most), each with its number.

    Args:
        values: `(rows, columns)`, finite.
        rows: A name for each row.
        columns: A name for each column.
        title: Above the figure.
        form: How a number is written, in `str.format`'s language.

    Returns:
        uint8 `(height, width, 3)`.
    """
    font = _font()
    left = MARGIN + max(int(font.getlength(name)) for name in rows) + 8
    top = MARGIN + 2 * (FONT_SIZE + 8)
    needed = int(font.getlength(title)) + 2 * MARGIN
    size = (max(left + CELL * len(columns) + MARGIN, needed), top + CELL * len(rows) + MARGIN)
    image, draw = _canvas(size, title)
    most = max(float(np.abs(values).max()), 1e-12)
    for j, name in enumerate(columns):
        _centred(draw, (left + CELL * (j + 0.5), top - FONT_SIZE / 2 - 4), name, INK)
    for i, name in enumerate(rows):
        draw.text((MARGIN, top + CELL * (i + 0.5)), name, fill=INK, font=font, anchor="lm")
        for j in range(len(columns)):
            x, y, share = left + CELL * j, top + CELL * i, float(values[i, j]) / most
            draw.rectangle((x, y, x + CELL - 2, y + CELL - 2), fill=_mixed(WARM if share > 0 else COLD, abs(share)))
            ink = PAPER if abs(share) > 0.6 else INK
            _centred(draw, (x + CELL / 2, y + CELL / 2), form.format(float(values[i, j])), ink)
    return np.asarray(image)


def curves(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str, x_name: str, y_name: str, *, log_y: bool = False
) -> np.ndarray:
    """Curves over one pair of axes, with their names beside them.

    Args:
        lines: Name to `(x, y)`, one-dimensional; y above 0 where `log_y`.
        title: Above the figure.
        x_name: Of the axis across.
        y_name: Of the axis up.
        log_y: Whether the axis up is logarithmic.

    Returns:
        uint8 `(height, width, 3)`.
    """
    font = _font()
    legend = max(int(font.getlength(name)) for name in lines) + 40
    left, top = 70, MARGIN + 2 * (FONT_SIZE + 8)
    image, draw = _canvas((left + PLOT_WIDTH + legend, top + PLOT_HEIGHT + 50), title)
    xs, ys = np.concatenate([x for x, _ in lines.values()]), np.concatenate([y for _, y in lines.values()])
    ys = np.log10(ys) if log_y else ys
    low_x, high_x, low_y, high_y = *_span(xs), *_span(ys)
    draw.rectangle((left, top, left + PLOT_WIDTH, top + PLOT_HEIGHT), outline=FAINT)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = left + share * PLOT_WIDTH, top + (1 - share) * PLOT_HEIGHT
        value = low_y + share * (high_y - low_y)
        _centred(draw, (x, top + PLOT_HEIGHT + 12), f"{low_x + share * (high_x - low_x):.3g}", INK)
        draw.text((left - 6, y), f"{10**value if log_y else value:.3g}", fill=INK, font=font, anchor="rm")
        draw.line((left, y, left + PLOT_WIDTH, y), fill=FAINT)
    _centred(draw, (left + PLOT_WIDTH / 2, top + PLOT_HEIGHT + 34), x_name, INK)
    draw.text((MARGIN, top - FONT_SIZE - 11), y_name, fill=INK, font=font)
    for number, (name, (x, y)) in enumerate(lines.items()):
        y = np.log10(y) if log_y else y
        across = left + (x - low_x) / (high_x - low_x) * PLOT_WIDTH
        up = top + (high_y - y) / (high_y - low_y) * PLOT_HEIGHT
        color = COLORS[number % len(COLORS)]
        draw.line([(float(a), float(b)) for a, b in zip(across, up, strict=True)], fill=color, width=2)
        draw.text((left + PLOT_WIDTH + 12, top + 20 * number), name, fill=color, font=font)
    return np.asarray(image)


def points(clouds: Mapping[str, np.ndarray], title: str, *, extent: float, side: int = 320) -> np.ndarray:
    """Clouds of points in the square [-extent, extent]^2, later ones on top.

    Args:
        clouds: Name to `(n, 2)`.
        title: Above the figure.
        extent: Half the side of what is seen.
        side: Pixels of the square.

    Returns:
        uint8 `(height, width, 3)`.
    """
    top = MARGIN + FONT_SIZE + 12
    image, draw = _canvas((side + 2 * MARGIN, side + top + MARGIN), title)
    draw.rectangle((MARGIN, top, MARGIN + side, top + side), outline=FAINT)
    for number, cloud in enumerate(clouds.values()):
        places = (np.clip(cloud / extent, -1, 1) * [1, -1] + 1) * side / 2 + [MARGIN, top]
        for x, y in places.tolist():
            draw.ellipse((x - 1.2, y - 1.2, x + 1.2, y + 1.2), fill=COLORS[number % len(COLORS)])
    return np.asarray(image)


def _canvas(size: tuple[int, int], title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, MARGIN), title, fill=INK, font=_font())
    return image, draw


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(FONT_SIZE)


def _centred(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, ink: tuple[int, int, int]) -> None:
    draw.text(place, text, fill=ink, font=_font(), anchor="mm")


def _mixed(color: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    """Paper with a share of a colour."""
    red, green, blue = (round(p + (c - p) * min(share, 1.0)) for p, c in zip(PAPER, color, strict=True))
    return red, green, blue


def _span(values: np.ndarray) -> tuple[float, float]:
    """Least and most, apart."""
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, math.nextafter(high + 0.5, math.inf))
