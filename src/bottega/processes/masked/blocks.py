"""Masks made of rectangles: which patches of a picture a model must fill in.

Source: Bao et al., "BEiT", arXiv:2106.08254, algorithm 1 (block-wise masking).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch import Generator, Tensor

from bottega.errors import RequestError


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockMasks:
    """Rectangles of patches, drawn one over another until exactly `masked` patches are covered.

    The published algorithm stops early when no rectangle fits into what is left to cover; here single patches, drawn
    evenly, make up the rest, so that every mask has the same number of patches and batches have one shape.

    Args:
        rows: Rows of patches.
        columns: Columns of patches.
        masked: Patches that are masked, from 0 to `rows * columns`. EVA masks 105 of 256; Painter 784 of 1568.
        smallest: Least area of a rectangle, in patches, as it is drawn; BEiT, EVA and Painter 16.
        largest: Greatest number of patches that one rectangle adds; None means `masked`.
        least_aspect: The ratio of height to width is drawn between this and its inverse, evenly in its logarithm.
        attempts: Rectangles tried before single patches are taken.

    Source: arXiv:2106.08254, algorithm 1; EVA's and Painter's numbers from their published training commands.
    """

    rows: int
    columns: int
    masked: int
    smallest: int = 16
    largest: int | None = None
    least_aspect: float = 0.3
    attempts: int = 10

    def __post_init__(self) -> None:
        for name in ("rows", "columns", "smallest", "attempts"):
            if getattr(self, name) < 1:
                raise RequestError.of(name, getattr(self, name), "at least 1")
        if not 0 <= self.masked <= self.rows * self.columns:
            raise RequestError.of("masked", self.masked, f"between 0 and {self.rows * self.columns}")
        if not 0 < self.least_aspect <= 1:
            raise RequestError.of("least_aspect", self.least_aspect, "above 0 and at most 1")
        if self.largest is not None and self.largest < 1:
            raise RequestError.of("largest", self.largest, "at least 1, or None")

    def draw(self, random: Random) -> Tensor:
        """One mask, bool `(rows, columns)`, True where a patch is masked."""
        mask, left = np.zeros((self.rows, self.columns), dtype=bool), self.masked
        while left > 0:
            added = self._cover(mask, left if self.largest is None else min(left, self.largest), random)
            if added == 0:
                mask.flat[random.sample(np.flatnonzero(~mask).tolist(), left)] = True
                break
            left -= added
        return torch.from_numpy(mask)

    def _cover(self, mask: np.ndarray, most: int, random: Random) -> int:
        """Covers one rectangle that adds between 1 and `most` patches; returns how many, 0 if none fitted."""
        for _ in range(self.attempts):
            area = random.uniform(self.smallest, most)
            aspect = math.exp(random.uniform(math.log(self.least_aspect), -math.log(self.least_aspect)))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if not (0 < height < self.rows and 0 < width < self.columns):
                continue
            top, left = random.randint(0, self.rows - height), random.randint(0, self.columns - width)
            window = mask[top : top + height, left : left + width]
            added = window.size - int(window.sum())
            if 0 < added <= most:
                window[:] = True
                return added
        return 0


def block_masks(masks: BlockMasks, generators: Sequence[Generator]) -> Tensor:
    """One mask a generator, bool `(generators, rows, columns)`: mask i is a function of the seed of generator i alone.

    Args:
        masks: What they look like.
        generators: One a sample, as `training.sample_generators` makes them. Their state is neither read nor moved.
    """
    return torch.stack([masks.draw(Random(generator.initial_seed())) for generator in generators])
