"""A simulated person who works on one picture: clicks where the last answer was most wrong, until it fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bottega.ops import mask_overlaps
from bottega.processes.segmentation.clicks import middle_pixels, next_labels, wrong
from bottega.processes.segmentation.promptable import Embedding, Prompts, Segmenter, Segments


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Clicked:
    """What stands after some clicks on each of several things.

    Args:
        segments: The answers: several to a first click, one to more.
        masks: The chosen answers, bool `(things, height, width)`.
        overlaps: Their overlap with the truth, `(things,)`.
        points: All clicks so far, `(things, clicks, 2)`.
        labels: Theirs, `(things, clicks)`.
    """

    segments: Segments
    masks: Tensor
    overlaps: Tensor
    points: Tensor
    labels: Tensor


def clicked(
    segmenter: Segmenter, embedding: Embedding, truths: Tensor, clicks: int, *, wanted: Tensor | None = None
) -> Iterator[Clicked]:
    """Clicks on things one by one, each time in the middle of the largest depth of what is wrong.

    Args:
        segmenter: Any promptable segmenter.
        embedding: The picture.
        truths: What is wanted, bool `(things, height, width)`.
        clicks: How often.
        wanted: What the person thinks is wanted instead (as a control), of the same shape.

    Yields:
        What stands after each click. Of several answers the one with the highest score is chosen, and becomes the mask
        of the next prompt.

    Source: arXiv:2304.02643, section 7.1: the first click in the middle of the thing, the next ones in that of the
    error.
    """
    aim = truths if wanted is None else wanted
    masks, logits = torch.zeros_like(aim), None
    points = torch.zeros(len(aim), 0, 2)
    labels = torch.zeros(len(aim), 0, dtype=torch.long)
    for number in range(clicks):
        missed, extra = wrong(masks, aim)
        place = middle_pixels(_deeper(missed, extra))
        points = torch.cat((points, place[:, None]), dim=1)
        labels = torch.cat((labels, next_labels(place, aim)[:, None]), dim=1)
        prompts = Prompts(points=points, labels=labels, masks=logits)
        segments = segmenter.prompt(embedding, prompts, multimask=number == 0)
        chosen = segments.best()
        logits, masks = chosen.low_res_logits[:, 0], chosen.masks()[:, 0].cpu()
        yield Clicked(
            segments=segments, masks=masks, overlaps=mask_overlaps(masks, truths), points=points, labels=labels
        )


def _deeper(missed: Tensor, extra: Tensor) -> Tensor:
    """For each thing the error with more pixels: a click is on one or the other side of the truth."""
    more = missed.sum((-2, -1)) >= extra.sum((-2, -1))
    return torch.where(more[:, None, None], missed, extra)


def flooded(picture: np.ndarray, points: Tensor, labels: Tensor) -> np.ndarray:
    """What a watershed finds from clicks, without any learning: floods from the clicks and from the picture's border.

    Args:
        picture: uint8 `(height, width, 3)`.
        points: `(clicks, 2)`: column and row.
        labels: `(clicks,)`: 1 on the thing, 0 beside it.

    Returns:
        Bool `(height, width)`.

    Source: Meyer's flooding on the largest step of a colour to the next pixel, by the image foresting transform.
    """
    from scipy import ndimage  # noqa: PLC0415 - importing it takes longer than importing the package

    smooth = ndimage.gaussian_filter(picture.astype(np.float32), (1, 1, 0))
    steps = np.sqrt(sum(ndimage.sobel(smooth, axis=axis) ** 2 for axis in (0, 1))).max(-1)
    markers = np.zeros(picture.shape[:2], dtype=np.int16)
    markers[[0, -1], :], markers[:, [0, -1]] = 2, 2
    for (column, row), label in zip(points.long().tolist(), labels.tolist(), strict=True):
        markers[row, column] = 1 if label else 2
    height = np.clip(steps / max(float(steps.max()), 1e-6) * 255, 0, 255).astype(np.uint8)
    return ndimage.watershed_ift(height, markers) == 1
