"""Promptable segmentation: a picture is encoded once, and any number of prompts ask for masks in it.

Source: Segment Anything, arXiv:2304.02643, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

INSIDE, OUTSIDE, NO_POINT, PADDING = 1, 0, -1, -10
"""Labels of points: on what is wanted; on what is not; none there; a filler without any content."""
SURE = 8.0
"""Logit of the pixels of a mask that a person gives."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prompts:
    """Some prompts, each of which asks for one thing. What a segmenter takes together has the same leading sizes.

    Args:
        points: `(..., prompts, points, 2)`: column and row, in pixels of the picture from its top left corner.
        labels: `(..., prompts, points)`: `INSIDE`, `OUTSIDE`, `NO_POINT` or `PADDING`.
        boxes: `(..., prompts, 4)`: left, top, right, bottom, in pixels of the picture.
        masks: `(..., prompts, side, side)`: logits of an earlier answer (its `low_res_logits`).
        words: `(..., prompts, dim)`: what is wanted as normalised features of an image-text encoder.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None
    words: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.points is None) != (self.labels is None):
            raise ValueError("points and labels belong together: one label for each point")
        if self.points is not None and self.labels is not None and self.points.shape[:-1] != self.labels.shape:
            raise ValueError(f"{tuple(self.points.shape)} points need {tuple(self.points.shape[:-1])} labels")
        if not self.given:
            raise ValueError("a prompt needs points, a box, a mask or words")

    @property
    def given(self) -> tuple[Tensor, ...]:
        """The parts that are there."""
        parts = (self.points, self.boxes, self.masks, self.words)
        return tuple(part for part in parts if part is not None)

    def rows(self, start: int, stop: int) -> Prompts:
        """Some of the prompts of one picture."""
        parts = (self.points, self.labels, self.boxes, self.masks, self.words)
        cut = [None if part is None else part[start:stop] for part in parts]
        return Prompts(points=cut[0], labels=cut[1], boxes=cut[2], masks=cut[3], words=cut[4])

    def __len__(self) -> int:
        return len(self.given[0])


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Where a picture lies in the square that a network sees: resized by its longer side, at the top left.

    Args:
        height: The picture's own rows.
        width: Its own columns.
        side: Side of the square in pixels.
    """

    height: int
    width: int
    side: int

    @property
    def inner(self) -> tuple[int, int]:
        """Rows and columns of the picture in the square."""
        scale = self.side / max(self.height, self.width)
        return max(1, int(self.height * scale + 0.5)), max(1, int(self.width * scale + 0.5))

    def to_square(self, points: Tensor) -> Tensor:
        """Points `(..., 2)` of the picture as points of the square, in pixels."""
        rows, columns = self.inner
        return points * points.new_tensor((columns / self.width, rows / self.height))

    def from_square(self, logits: Tensor) -> Tensor:
        """Low-resolution logits `(..., s, s)` of the square as logits `(..., height, width)` of the picture."""
        rows, columns = self.inner
        flat = logits.reshape(-1, 1, *logits.shape[-2:]).float()
        square = F.interpolate(flat, (self.side, self.side), mode="bilinear", align_corners=False)
        own = F.interpolate(
            square[..., :rows, :columns], (self.height, self.width), mode="bilinear", align_corners=False
        )
        return own.reshape(*logits.shape[:-2], self.height, self.width)


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """An encoded picture.

    Args:
        features: What the network keeps of it, `(channels, rows, columns)`.
        frame: Where the picture lies in the network's square.
    """

    features: Tensor
    frame: Frame


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Segments:
    """The answers to some prompts.

    Args:
        low_res_logits: `(prompts, answers, s, s)`: above 0 inside; they can be the mask of a next prompt.
        scores: `(prompts, answers)`: how well each is expected to fit (intersection over union).
        frame: Where the picture lies in the network's square.
    """

    low_res_logits: Tensor
    scores: Tensor
    frame: Frame

    def logits(self) -> Tensor:
        """The answers at the picture's own size, `(prompts, answers, height, width)`."""
        return self.frame.from_square(self.low_res_logits)

    def masks(self) -> Tensor:
        """The same as masks, bool."""
        return self.logits() > 0

    def __getitem__(self, rows: slice) -> Segments:
        """The answers to some of the prompts."""
        return Segments(low_res_logits=self.low_res_logits[rows], scores=self.scores[rows], frame=self.frame)

    def best(self) -> Segments:
        """Of each prompt the answer with the highest score."""
        rows, place = torch.arange(len(self.scores), device=self.scores.device), self.scores.argmax(1)
        return Segments(
            low_res_logits=self.low_res_logits[rows, place, None], scores=self.scores[rows, place, None],
            frame=self.frame,
        )  # fmt: skip


class Segmenter(Protocol):
    """A model that answers prompts about encoded pictures. Any room, the studio and the mask generator take it."""

    @property
    def low_res_side(self) -> int:
        """Side of the low-resolution logits that `Prompts.masks` takes."""
        ...

    def encode(self, picture: np.ndarray) -> Embedding:
        """A picture, uint8 `(height, width, 3)`, to what `prompt` takes; the slow part, done once."""
        ...

    def prompt(self, embedding: Embedding, prompts: Prompts, *, multimask: bool = True) -> Segments:
        """The answers to prompts about one picture, in its own pixels.

        Args:
            embedding: What `encode` returned.
            prompts: One or more, without further leading sizes.
            multimask: Whether each gets several answers (whole, part, part of a part) or the one answer for prompts
                that leave no doubt.
        """
        ...

    def read(self, texts: tuple[str, ...]) -> Tensor:
        """Texts as `Prompts.words`, `(texts, dim)`.

        Raises:
            RequestError: The model takes no texts.
        """
        ...


def click(points: list[tuple[float, float]], labels: list[int] | None = None) -> Prompts:
    """One prompt of points given as (column, row); without labels all lie on what is wanted."""
    chosen = labels if labels is not None else [INSIDE] * len(points)
    return Prompts(points=torch.tensor([points], dtype=torch.float32), labels=torch.tensor([chosen]))


def rough_mask(mask: np.ndarray, side: int) -> Tensor:
    """A mask that a person painted as `Prompts.masks`.

    Args:
        mask: bool `(height, width)`, of the picture's size.
        side: The segmenter's `low_res_side`.

    Returns:
        Low-resolution logits `(1, side, side)`.
    """
    frame = Frame(mask.shape[0], mask.shape[1], side)
    rows, columns = frame.inner
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize((columns, rows), Image.Resampling.BILINEAR)
    out = torch.full((1, side, side), -SURE)
    out[0, :rows, :columns] = (torch.from_numpy(np.array(small, dtype=np.float32)) / 127.5 - 1) * SURE
    return out


@dataclass(slots=True, eq=False)
class Session:
    """One picture under work: encoded at its first prompt, and each answer may be the next prompt's mask.

    Args:
        segmenter: The model.
        picture: uint8 `(height, width, 3)`.
    """

    segmenter: Segmenter
    picture: np.ndarray
    embedding: Embedding | None = field(default=None, init=False)

    def __call__(self, prompts: Prompts, *, multimask: bool = True) -> Segments:
        """The answers to prompts."""
        if self.embedding is None:
            self.embedding = self.segmenter.encode(self.picture)
        return self.segmenter.prompt(self.embedding, prompts, multimask=multimask)
