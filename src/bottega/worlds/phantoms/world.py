"""Random phantoms after Shepp and Logan: a skull, what it encloses, and lesions, each an ellipse with known numbers.

Lengths are in half sides of the picture and the origin is pixel `size // 2`, so that a phantom lies inside the
inscribed circle and has the geometry of a Radon transform about that pixel. Line integrals of ellipses have a formula.

Source: Shepp and Logan, The Fourier reconstruction of a head section, 1974.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bottega.worlds.dice import Dice, mix_text
from bottega.worlds.english import NUMBERS
from bottega.worlds.settings import check_length, check_size, check_split, within

SMALLEST: Final = 16  # px, side of the smallest pictures in which lesions are seen
FINER: Final = 4  # points along each side of a pixel over which its density is averaged


@dataclass(frozen=True, kw_only=True, slots=True)
class Ellipse:
    """An ellipse that adds its density to what it covers.

    Args:
        density: What it adds, any sign.
        x: Its middle, to the right.
        y: Its middle, downwards.
        across: Half axis along its own first direction.
        along: Half axis along the second.
        turn: Angle of the first direction from the right, clockwise as seen, in radians.
    """

    density: float
    x: float
    y: float
    across: float
    along: float
    turn: float

    def covers(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether points lie inside."""
        cosine, sine = math.cos(self.turn), math.sin(self.turn)
        dx, dy = x - self.x, y - self.y
        first, second = dx * cosine + dy * sine, dy * cosine - dx * sine
        return (first / self.across) ** 2 + (second / self.along) ** 2 <= 1

    def line_integrals(self, angle: float, offsets: np.ndarray) -> np.ndarray:
        """Exact integrals along the lines x cos(angle) - y sin(angle) = offset, angle in radians."""
        cosine, sine = math.cos(angle), math.sin(angle)
        lean = angle + self.turn
        reach = (self.across * math.cos(lean)) ** 2 + (self.along * math.sin(lean)) ** 2
        left = reach - (offsets - (self.x * cosine - self.y * sine)) ** 2
        return 2 * self.density * self.across * self.along * np.sqrt(np.maximum(left, 0)) / reach


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Phantom:
    """A phantom with everything that is known about it.

    Args:
        density: float32 `(size, size)` in [0, 1]: the mean of the ellipses' sum over each pixel.
        ellipses: The skull, the tissue inside it, and the lesions.
    """

    density: np.ndarray
    ellipses: tuple[Ellipse, ...]

    @property
    def picture(self) -> np.ndarray:
        """The density as a grey picture, uint8 `(size, size, 3)`."""
        return np.repeat(np.rint(255 * self.density).astype(np.uint8)[..., None], 3, axis=2)

    @property
    def caption(self) -> str:
        """What it shows."""
        count = len(self.ellipses) - 2
        return f"a phantom of a head with {NUMBERS[count]} {'lesion' if count == 1 else 'lesions'}"

    def line_integrals(self, angles: Sequence[float]) -> np.ndarray:
        """Exact projections, without pixels: what an ideal scanner measures.

        Args:
            angles: Degrees, as `bottega.processes.diffusion.Radon` takes them.

        Returns:
            float64 `(angles, size)`, in pixels times density.
        """
        size = len(self.density)
        offsets = (np.arange(size) - size // 2) / (size / 2)
        rows = [
            sum(ellipse.line_integrals(math.radians(angle), offsets) for ellipse in self.ellipses) for angle in angles
        ]
        return np.stack(rows) * size / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomsWorld:
    """An endless, deterministic source of phantoms; a map-style data set.

    Args:
        split: "train", "heldout" (other phantoms of the same kind), or "all" (the same as "train").
        size: Side of the pictures in pixels, 16 to 512.
        seed: Any integer.
        lesions: Most lesions, 1 to 12.
        length: What `len` says; `sample` takes any index.
    """

    split: str = "train"
    size: int = 64
    seed: int = 0
    lesions: int = 7
    length: int = 1_000_000

    def __post_init__(self) -> None:
        check_split(self.split)
        check_size(self.size, SMALLEST)
        check_length(self.length)
        if not 1 <= self.lesions < len(NUMBERS):
            raise ValueError(f"lesions is {self.lesions}, but it must be between 1 and {len(NUMBERS) - 1}")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Phantom:
        return self.sample(within(index, self.length))

    def sample(self, index: int) -> Phantom:
        """The phantom at any index from 0."""
        stream = self.seed ^ mix_text("heldout") if self.split == "heldout" else self.seed
        ellipses = head(Dice(stream, index), self.lesions)
        return Phantom(density=rendered(ellipses, self.size), ellipses=ellipses)

    def batch(self, indices: Sequence[int]) -> list[Phantom]:
        """The phantoms at these indices."""
        return [self.sample(index) for index in indices]


def head(dice: Dice, lesions: int) -> tuple[Ellipse, ...]:
    """A skull of density 0.8 to 1, tissue of 0.25 to 0.45 inside it, and 1 to `lesions` lighter or darker ellipses."""
    wide, high, turn = dice.between(0.6, 0.85), dice.between(0.75, 0.92), dice.between(-0.3, 0.3)
    bone, tissue, thick = dice.between(0.8, 1.0), dice.between(0.25, 0.45), dice.between(0.05, 0.11)
    skull = Ellipse(density=bone, x=0.0, y=0.0, across=wide, along=high, turn=turn)
    inside = Ellipse(density=tissue - bone, x=0.0, y=0.0, across=wide - thick, along=high - thick, turn=turn)
    found = [skull, inside]
    for _ in range(1 + dice.below(lesions)):
        across, along = dice.between(0.06, 0.28), dice.between(0.06, 0.28)
        far, way = 0.7 * math.sqrt(dice.unit()), dice.between(0.0, 2 * math.pi)
        room_x, room_y = wide - thick - max(across, along), high - thick - max(across, along)
        found.append(
            Ellipse(
                density=dice.pick((-1.0, 1.0)) * dice.between(0.08, 0.22),
                x=far * room_x * math.cos(way), y=far * room_y * math.sin(way),
                across=across, along=along, turn=dice.between(0.0, math.pi),
            )
        )  # fmt: skip
    return tuple(found)


def rendered(ellipses: Sequence[Ellipse], size: int) -> np.ndarray:
    """Densities averaged over each pixel, kept in [0, 1], float32 `(size, size)`."""
    points = ((np.arange(size * FINER) + 0.5) / FINER - 0.5 - size // 2) / (size / 2)
    total = np.zeros((size * FINER, size * FINER), dtype=np.float32)
    for ellipse in ellipses:
        cosine, sine = math.cos(ellipse.turn), math.sin(ellipse.turn)
        wide, high = (
            math.hypot(ellipse.across * a, ellipse.along * b) for a, b in ((cosine, sine), (sine, cosine))
        )  # half the sides of its box
        columns = slice(*np.searchsorted(points, (ellipse.x - wide, ellipse.x + wide)))
        rows = slice(*np.searchsorted(points, (ellipse.y - high, ellipse.y + high)))
        inside = ellipse.covers(points[None, columns], points[rows, None])
        total[rows, columns] += np.float32(ellipse.density) * inside
    means = total.reshape(size, FINER, size, FINER).mean((1, 3))
    return np.clip(means, 0.0, 1.0)
