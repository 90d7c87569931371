"""Masks as run lengths, as COCO writes them: plain numbers, and its short text.

Source: the formats of cocodataset/cocoapi (`common/maskApi.h`): pixels are read column by column, runs alternate and
start with pixels outside the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bottega.errors import RequestError

LETTER = 48  # the character of the value 0
MORE, SIGN, VALUE = 0x20, 0x10, 0x1F  # bits of a character: another follows; the number is negative; five bits


@dataclass(frozen=True, slots=True)
class RunLengths:
    """One mask as run lengths.

    Args:
        height: Rows.
        width: Columns.
        counts: Lengths of the runs, column by column, the first outside the mask (it may be 0).
    """

    height: int
    width: int
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if min(self.counts, default=0) < 0 or sum(self.counts) != self.height * self.width:
            raise RequestError.of(
                "run lengths", f"{sum(self.counts)} pixels", f"{self.height} x {self.width} pixels, in whole runs"
            )

    @classmethod
    def of(cls, mask: np.ndarray) -> RunLengths:
        """The run lengths of a mask, bool `(height, width)`."""
        height, width = mask.shape
        flat = np.asarray(mask, dtype=bool).ravel(order="F")
        edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        runs = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist() if flat.size else []
        return cls(height, width, (0, *runs) if flat.size and flat[0] else tuple(runs))

    @classmethod
    def parse(cls, text: str, height: int, width: int) -> RunLengths:
        """Reads COCO's short text.

        Raises:
            RequestError: The text is cut short, has strange characters, or is of another size.
        """
        counts: list[int] = []
        value, shift = 0, 0
        for letter in text:
            code = ord(letter) - LETTER
            if not 0 <= code < 2 * MORE:
                raise RequestError.of("a character of run lengths", letter, "one of COCO's 64, from '0' to 'o'")
            value |= (code & VALUE) << shift
            shift += 5
            if code & MORE:
                continue
            signed = value - (1 << shift) if code & SIGN else value
            counts.append(signed + counts[-2] if len(counts) > 2 else signed)
            value, shift = 0, 0
        if shift:
            raise RequestError("the text of run lengths is cut short; get it again")
        return cls(height, width, tuple(counts))

    @property
    def area(self) -> int:
        """Pixels in the mask."""
        return sum(self.counts[1::2])

    def mask(self) -> np.ndarray:
        """The mask, bool `(height, width)`."""
        inside = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(inside, self.counts).reshape(self.width, self.height).T.copy()

    def text(self) -> str:
        """COCO's short text: from the fourth run on, the difference to the run before the last, in groups of 5 bits."""
        letters = []
        for place, count in enumerate(self.counts):
            value, more = count - self.counts[place - 2] if place > 2 else count, True
            while more:
                bits = value & VALUE
                value >>= 5
                more = value != (-1 if bits & SIGN else 0)
                letters.append(chr(bits + LETTER + (MORE if more else 0)))
        return "".join(letters)


def coco_segmentation(mask: np.ndarray) -> dict[str, str | Sequence[int]]:
    """A mask, bool `(height, width)`, as the field "segmentation" of a COCO annotation."""
    runs = RunLengths.of(mask)
    return {"size": [runs.height, runs.width], "counts": runs.text()}
