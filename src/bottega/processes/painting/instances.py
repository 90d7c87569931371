"""Things as colours that say where they are.

Source: arXiv:2212.02499, section 3.1; locations of a grid's cells as in SOLO, arXiv:1912.04488.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bottega.errors import RequestError
from bottega.ops import matrix_nms

MOST_CANDIDATES = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class LocationColors:
    """A colour for each cell of a grid over the picture: coarse cells in red, fine cells in green and blue.

    Args:
        coarse: Coarse cells along a side, 1 to 15; the authors' 4.
        fine: Fine cells along a coarse one's side, 2 to 128; the authors' 20.
    """

    coarse: int = 4
    fine: int = 20

    def __post_init__(self) -> None:
        if not 1 <= self.coarse <= 15:
            raise RequestError.of("coarse", self.coarse, "between 1 and 15")
        if not 2 <= self.fine <= 128 or (self.fine - 1) * self.fine_step > 255:
            raise RequestError.of("fine", self.fine, "2 to 128, so that all cells have different colours")

    @property
    def cells(self) -> int:
        """Cells along a side of the picture."""
        return self.coarse * self.fine

    @property
    def coarse_step(self) -> int:
        """Levels of red between coarse cells."""
        return 255 // self.coarse**2

    @property
    def fine_step(self) -> int:
        """Levels of green and blue between fine cells."""
        return 256 // self.fine + 1

    def color(self, column: int, row: int) -> tuple[int, int, int]:
        """The colour of a cell."""
        coarse = row // self.fine * self.coarse + column // self.fine
        return (
            255 - coarse * self.coarse_step,
            255 - row % self.fine * self.fine_step,
            255 - column % self.fine * self.fine_step,
        )

    def cell_of(self, mask: np.ndarray) -> tuple[int, int]:
        """Column and row of the cell of a mask's centre of mass."""
        rows, columns = np.nonzero(mask)
        last = self.cells - 1
        return int(columns.mean() / mask.shape[1] * last), int(rows.mean() / mask.shape[0] * last)

    def nearest(self, picture: np.ndarray) -> np.ndarray:
        """The cell whose colour is nearest to each pixel's, or -1 for one that is nearer to black.

        Args:
            picture: float `(height, width, 3)`, 0 to 255.

        Returns:
            int64 `(height, width)`: `row * cells + column`.
        """
        levels = 255 - picture
        tops = (self.coarse**2 - 1, self.fine - 1, self.fine - 1)
        steps = (self.coarse_step, self.fine_step, self.fine_step)
        coarse, y, x = (
            np.clip(np.rint(levels[..., channel] / steps[channel]), 0, tops[channel]).astype(np.int64)
            for channel in range(3)
        )
        row, column = coarse // self.coarse * self.fine + y, coarse % self.coarse * self.fine + x
        colors = np.stack([255 - coarse * steps[0], 255 - y * steps[1], 255 - x * steps[2]], axis=-1)
        black = picture.sum(axis=-1) < np.abs(picture - colors).sum(axis=-1)
        return np.where(black, -1, row * self.cells + column)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Instances:
    """Things that were read from a painting, the surest first.

    Args:
        masks: bool `(things, height, width)`; they may overlap.
        scores: float32 `(things,)` in [0, 1].
        centers: float32 `(things, 2)`: column and row of where its colour says that it is, in pixels.
    """

    masks: np.ndarray
    scores: np.ndarray
    centers: np.ndarray

    def above(self, least: float) -> Instances:
        """Those of at least this score."""
        kept = self.scores >= least
        return Instances(masks=self.masks[kept], scores=self.scores[kept], centers=self.centers[kept])


def paint_instances(instances: np.ndarray, locations: LocationColors) -> np.ndarray:
    """Things as a picture: each in the colour of the cell of its centre of mass.

    Args:
        instances: int `(height, width)`: 0 for the ground, any other number for a thing.
        locations: The colours.

    Returns:
        uint8 `(height, width, 3)`, black where nothing is.
    """
    picture = np.zeros((*instances.shape, 3), dtype=np.uint8)
    for number in np.unique(instances):
        if number:
            mask = instances == number
            picture[mask] = locations.color(*locations.cell_of(mask))
    return picture


def read_instances(
    picture: np.ndarray,
    locations: LocationColors,
    *,
    threshold: float = 19.0,
    sigma: float = 2.0,
    most: int = 100,
    least_pixels: int = 1,
) -> Instances:
    """The things in a painting: for each colour the pixels near it, faded by matrix suppression.

    The authors try every colour; here one is tried when it is the nearest of `least_pixels` pixels. What is read is
    exact where things' colours differ by more than the threshold.

    Args:
        picture: `(height, width, 3)`, 0 to 255.
        locations: The colours.
        threshold: Largest mean absolute difference over channels of a mask's pixels.
        sigma: Of the suppression.
        most: Things to return.
        least_pixels: Smallest number of pixels of a mask.
    """
    values = picture.astype(np.float32)
    cells, counts = np.unique(locations.nearest(values), return_counts=True)
    cells = cells[(cells >= 0) & (counts >= least_pixels)]
    tried: list[tuple[float, int, np.ndarray]] = []
    for cell in cells.tolist():
        row, column = divmod(cell, locations.cells)
        gap = np.abs(values - np.array(locations.color(column, row), dtype=np.float32)).mean(axis=-1)
        mask = gap < threshold
        if mask.sum() >= least_pixels:
            tried.append((float(gap[mask].mean()), cell, mask))
    tried = sorted(tried, key=lambda one: one[:2])[:MOST_CANDIDATES]
    if not tried:
        nothing = np.zeros((0, *picture.shape[:2]), dtype=bool)
        return Instances(masks=nothing, scores=np.zeros(0, np.float32), centers=np.zeros((0, 2), np.float32))
    found = np.stack([mask for _, _, mask in tried])
    far = np.array([distance for distance, _, _ in tried], dtype=np.float32)
    scores = matrix_nms(torch.from_numpy(found), torch.from_numpy(1 - far / max(far.max(), 1.0)), sigma=sigma).numpy()
    best = np.argsort(-scores, kind="stable")[:most]
    rows, columns = np.divmod(np.array([cell for _, cell, _ in tried])[best], locations.cells)
    cell_side = np.array(picture.shape[1::-1]) / (locations.cells - 1)
    centers = (np.stack([columns, rows], axis=1) + 0.5) * cell_side
    return Instances(masks=found[best], scores=scores[best], centers=centers.astype(np.float32))
