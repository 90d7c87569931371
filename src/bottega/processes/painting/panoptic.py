"""Classes and things together: every pixel belongs to one segment. Source: arXiv:2212.02499, section 3.1."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from bottega.processes.painting.instances import Instances
from bottega.processes.painting.palette import ColorDistance, class_distances


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Panoptic:
    """Segments that do not overlap.

    Args:
        segments: int32 `(height, width)`: 0 where nothing was found, n + 1 for segment n.
        classes: int64 `(segments,)`.
        things: bool `(segments,)`: whether it is one thing and not stuff.
        scores: float32 `(segments,)`; 1 for stuff.
    """

    segments: np.ndarray
    classes: np.ndarray
    things: np.ndarray
    scores: np.ndarray


def read_panoptic(
    semantic: np.ndarray,
    instances: Instances,
    colors: np.ndarray,
    stuff: Collection[int],
    *,
    least_score: float = 0.55,
    most_hidden: float = 0.5,
    least_stuff: int = 1,
) -> Panoptic:
    """Joins a painting of classes with things: things first, the surest on top, then stuff where none is.

    A thing's class is the one whose colour its pixels are nearest to on the whole.

    Args:
        semantic: The painting of classes, `(height, width, 3)`, 0 to 255.
        instances: Things, of any class.
        colors: uint8 `(count, 3)`, one a class.
        stuff: Numbers of the classes that are no things.
        least_score: Of a thing; the authors' 0.55.
        most_hidden: Share of a thing's mask that surer ones may have taken; the authors' 0.5.
        least_stuff: Smallest number of pixels of a stuff segment; the authors' 8192 on pictures of COCO.
    """
    far = class_distances(semantic, colors, ColorDistance.ABSOLUTE)
    near = 1 - far / max(float(far.max()), 1.0)
    thing_classes = np.array([number for number in range(len(colors)) if number not in stuff])
    segments = np.zeros(semantic.shape[:2], dtype=np.int32)
    found: list[tuple[int, bool, float]] = []
    for mask, score in zip(instances.masks, instances.scores, strict=True):
        free = mask & (segments == 0)
        if score < least_score or free.sum() < (1 - most_hidden) * mask.sum() or not free.any():
            continue
        votes = near[mask].sum(axis=0)[thing_classes]
        found.append((int(thing_classes[votes.argmax()]), True, float(score)))
        segments[free] = len(found)
    classes = far.argmin(axis=-1)
    for number in sorted(stuff):
        rest = (classes == number) & (segments == 0)
        if rest.sum() >= max(least_stuff, 1):
            found.append((number, False, 1.0))
            segments[rest] = len(found)
    return Panoptic(
        segments=segments,
        classes=np.array([kind for kind, _, _ in found], dtype=np.int64),
        things=np.array([thing for _, thing, _ in found], dtype=bool),
        scores=np.array([score for _, _, score in found], dtype=np.float32),
    )
