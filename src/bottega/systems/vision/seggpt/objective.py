"""Random colours for a context, and the batch that the network learns from. Source: arXiv:2304.03284, section 3.1."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from random import Random

import numpy as np
from PIL import Image

BLACK_DISTANCE, OTHER_DISTANCE = 0.9, 0.6
"""Least sums of differences of channels in [0, 1] between a colour and black, and between two colours."""


def draw_colors(count: int, random: Random) -> np.ndarray:
    """Colours for labels: float32 `(1 + count, 3)` in [0, 1]; the first is black, for what is not asked for.

    Args:
        count: Labels.
        random: Random numbers.
    """
    colors = [np.zeros(3)]
    while len(colors) <= count:
        best, room = np.ones(3), -1.0
        for _ in range(20):
            color = np.array([random.random() for _ in range(3)])
            free = min([color.sum() / BLACK_DISTANCE, *(np.abs(color - c).sum() / OTHER_DISTANCE for c in colors[1:])])
            if free > room:
                best, room = color, free
            if free >= 1:
                break
        colors.append(best)
    return np.stack(colors).astype(np.float32)


def color_context(count: int, random: Random, *, white: float = 0.15) -> np.ndarray:
    """Colours of a context's labels as SegGPT draws them: some labels are asked for, each in a colour of its own.

    Args:
        count: Labels of the context, at least 1.
        random: Random numbers.
        white: Share of contexts in which one label alone is asked for, in white, as masks are.

    Returns:
        float32 `(1 + count, 3)` in [0, 1]; black for labels that are not asked for.
    """
    colors = draw_colors(count, random)
    if random.random() < white:
        asked, colors[1:] = [random.randrange(count)], 1.0
    else:
        asked = [label for label in range(count) if random.random() < 0.7] or [random.randrange(count)]
    left_out = [1 + label for label in range(count) if label not in asked]
    colors[left_out] = 0.0
    return colors


def nearest_colors(paint: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """The label of the nearest colour at each pixel, by the sum of squared differences of channels.

    Args:
        paint: float `(..., height, width, 3)` in [0, 1].
        colors: float `(labels, 3)`.

    Returns:
        uint8 `(..., height, width)`.
    """
    distance = np.stack([np.square(paint - color).sum(axis=-1) for color in colors])
    return distance.argmin(axis=0).astype(np.uint8)


def mosaic(parts: Sequence[tuple[np.ndarray, np.ndarray]], random: Random) -> tuple[np.ndarray, np.ndarray]:
    """Mix-context: four pictures with one meaning of colours, two by two, of which a square is cut out.

    Args:
        parts: Four pictures, uint8 `(size, size, 3)`, each with its labels, uint8 `(size, size)`.
        random: Random numbers.

    Returns:
        A picture and labels of the same kind.
    """
    size = len(parts[0][0])
    side = random.uniform(size, 2 * size)
    left, top = (random.uniform(0, 2 * size - side) for _ in range(2))
    box = (left, top, left + side, top + side)
    made = []
    for position, how in enumerate((Image.Resampling.BICUBIC, Image.Resampling.NEAREST)):
        first, second, third, fourth = (part[position] for part in parts)
        sheet = np.concatenate((np.concatenate((first, second), 1), np.concatenate((third, fourth), 1)))
        made.append(np.asarray(Image.fromarray(sheet).resize((size, size), how, box=box)))
    return made[0], made[1]


LEAST_SHARE, SAME_COLOR, BLACK, MOST_COLORS = 1 / 1000, 60, 40, 32
"""A colour counts on this share of a mask's pixels; sums of differences of channels in 0 to 255 below which colours are
one, and a colour is black; most colours that are told apart."""
EDGE = 0.1
"""A colour between two others counts as their smooth edge below this share of the rarer one's pixels."""


def colors_of_masks(masks: Sequence[np.ndarray]) -> np.ndarray:
    """The colours in which masks are painted, the most frequent first; those of smooth edges do not count.

    Args:
        masks: uint8 `(height, width, 3)` each.

    Returns:
        float32 `(1 + colours, 3)` in [0, 1]; the first is black.
    """
    pixels = np.concatenate([mask.reshape(-1, 3) for mask in masks])
    found, counts = np.unique(pixels, axis=0, return_counts=True)
    kept = [(np.zeros(3, dtype=int), len(pixels))]
    for place in np.argsort(-counts, kind="stable"):
        color, count = found[place].astype(int), int(counts[place])
        if count < LEAST_SHARE * len(pixels) or len(kept) > MOST_COLORS:
            break
        near = any(np.abs(color - other).sum() <= (SAME_COLOR if i else BLACK) for i, (other, _) in enumerate(kept))
        if not near and not _is_edge(color, count, kept):
            kept.append((color, count))
    return np.stack([color for color, _ in kept]).astype(np.float32) / 255


def _is_edge(color: np.ndarray, count: int, kept: Sequence[tuple[np.ndarray, int]]) -> bool:
    """Whether a colour is a mixture of two much more frequent ones."""
    for (first, many), (second, more) in combinations(kept, 2):
        way = np.abs(color - first).sum() + np.abs(color - second).sum()
        if way <= np.abs(first - second).sum() + 6 and count < EDGE * min(many, more):  # 6: rounding of channels
            return True
    return False
