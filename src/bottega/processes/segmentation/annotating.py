"""A simulated annotator with a budget of time: helped by a model, and left with what the model did not fill in.

Source: Segment Anything, arXiv:2304.02643, section 4 (the data engine's three stages).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.ops import mask_overlaps
from bottega.processes.segmentation.automatic import AutomaticSettings, find_masks
from bottega.processes.segmentation.interaction import clicked
from bottega.processes.segmentation.promptable import Segmenter


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotator:
    """How long things take a person, in clicks.

    Args:
        budget: Time for a picture.
        finding: Time to find the next thing, or to throw a wrong mask away.
        drawing: Time to draw a mask by hand.
        patience: Clicks after which the person draws instead.
        content: Overlap with what is meant from which on a mask is taken as it is.
    """

    budget: float = 30.0
    finding: float = 1.0
    drawing: float = 10.0
    patience: int = 5
    content: float = 0.85

    def __post_init__(self) -> None:
        for name in ("budget", "finding", "drawing"):
            if not getattr(self, name) > 0:
                raise RequestError.of(name, getattr(self, name), "above 0 clicks")
        if self.patience < 1:
            raise RequestError.of("patience", self.patience, "at least 1 click")
        if not 0 < self.content <= 1:
            raise RequestError.of("content", self.content, "above 0 and at most 1")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Annotation:
    """The masks of one picture.

    Args:
        picture: uint8 `(height, width, 3)`.
        masks: Bool `(kept, height, width)`: what the person, or the model alone, kept.
        filled: How many of them the model had filled in.
        spent: Time that the person spent, in clicks.
    """

    picture: np.ndarray
    masks: np.ndarray
    filled: int
    spent: float

    @property
    def time_per_mask(self) -> float:
        """Clicks for each mask that the person made; 0 where there are none."""
        made = len(self.masks) - self.filled
        return self.spent / made if made else 0.0


def assisted(
    segmenter: Segmenter, picture: np.ndarray, truths: np.ndarray, annotator: Annotator, given: np.ndarray | None = None
) -> Annotation:
    """What a person makes of a picture with a model's help, the most prominent things first.

    Args:
        segmenter: The model that answers the person's clicks.
        picture: uint8 `(height, width, 3)`.
        truths: All that can be meant in the picture, bool `(things, height, width)`.
        annotator: The person.
        given: Masks that are filled in already; wrong ones are thrown away first. None for none.
    """
    kept, left, spent = _sorted_out(truths, given, annotator)
    filled = len(kept)
    order = np.argsort(-truths[left].sum((1, 2)), kind="stable")
    wanted = torch.from_numpy(truths[left][order])
    if len(wanted):
        made, times = _made(segmenter, picture, wanted, annotator)
        for mask, time in zip(made.numpy(), times, strict=True):
            if spent + time > annotator.budget:
                break
            kept.append(mask)
            spent += time
    masks = np.array(kept, dtype=bool).reshape(-1, *truths.shape[1:])
    return Annotation(picture=picture, masks=masks, filled=filled, spent=spent)


def semi_automatic(
    segmenter: Segmenter, picture: np.ndarray, truths: np.ndarray, annotator: Annotator, settings: AutomaticSettings
) -> Annotation:
    """The same where the model has filled in what it is sure of: the person adds what is less prominent."""
    found = find_masks(segmenter, picture, settings)
    return assisted(segmenter, picture, truths, annotator, None if found is None else found.masks())


def automatic(segmenter: Segmenter, picture: np.ndarray, settings: AutomaticSettings) -> Annotation:
    """What the model finds by itself; nobody looks at it."""
    found = find_masks(segmenter, picture, settings)
    masks = np.zeros((0, *picture.shape[:2]), dtype=bool) if found is None else found.masks()
    return Annotation(picture=picture, masks=masks, filled=len(masks), spent=0.0)


def _sorted_out(
    truths: np.ndarray, given: np.ndarray | None, annotator: Annotator
) -> tuple[list[np.ndarray], np.ndarray, float]:
    """The filled-in masks that fit something, which things they leave, and the time for throwing others away."""
    left = np.ones(len(truths), dtype=bool)
    if given is None or not len(truths):
        return [], left, 0.0
    kept, spent = [], 0.0
    wanted = torch.from_numpy(truths)
    for mask in given:
        overlaps = mask_overlaps(torch.from_numpy(mask), wanted).numpy() * left
        best = int(overlaps.argmax())
        if overlaps[best] >= annotator.content:
            kept.append(mask)
            left[best] = False
        else:
            spent += annotator.finding
    return kept, left, spent


def _made(
    segmenter: Segmenter, picture: np.ndarray, wanted: Tensor, annotator: Annotator
) -> tuple[Tensor, list[float]]:
    """Each thing's mask, by clicks or else by hand, and how long it takes."""
    masks, times = wanted.clone(), torch.full((len(wanted),), float(annotator.patience) + annotator.drawing)
    open_still = torch.ones(len(wanted), dtype=torch.bool)
    embedding = segmenter.encode(picture)
    for number, now in enumerate(clicked(segmenter, embedding, wanted, annotator.patience), 1):
        done = open_still & (now.overlaps >= annotator.content)
        masks[done], times[done] = now.masks[done], float(number)
        open_still &= ~done
    return masks, (times + annotator.finding).tolist()
