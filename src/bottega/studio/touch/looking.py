"""Clicks, boxes and paint become masks: pictures are encoded once, and what is said of a thing is answered at once."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.ops import RunLengths, boxes_of_masks
from bottega.processes.segmentation import (
    INSIDE,
    OUTSIDE,
    Embedding,
    Prompts,
    Segmenter,
    Segments,
    click,
    middle_pixels,
    rough_mask,
)
from bottega.studio import limits
from bottega.studio.touch.messages import Candidate, LookAnswer, LookBody, MasksAnswer, MasksBody, Picture
from bottega.studio.touch.shelf import Shelf
from bottega.studio.touch.toolbox import OpenPicture, Toolbox

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """An encoded picture, with the answers that were given about it.

    Args:
        picture: The picture.
        segmenter: What encoded it.
        embedding: What `segmenter.prompt` takes.
        words: Whether it can be asked in words.
        answers: By id, the last few.
    """

    picture: OpenPicture
    segmenter: Segmenter
    embedding: Embedding
    words: bool
    answers: Shelf[str, Segments] = field(default_factory=lambda: Shelf(limits.ANSWERS))

    @property
    def weight(self) -> int:
        """Bytes, with as many answers as are remembered."""
        features, answer = self.embedding.features, 4 * 4 * self.segmenter.low_res_side**2
        return self.picture.pixels.nbytes + features.numel() * features.element_size() + limits.ANSWERS * answer


class Looking:
    """The pictures that people click on.

    Args:
        toolbox: Systems and pictures.
    """

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox
        self._looks: Shelf[tuple[str, str], Looked] = Shelf(
            limits.LOOKS, weight=lambda looked: looked.weight, most_bytes=limits.LOOKS_BYTES
        )

    def look(self, body: LookBody) -> LookAnswer:
        """Encodes a picture, so that clicks are answered at once.

        Raises:
            BottegaError: The system or the picture is not there.
        """
        started = time.perf_counter()
        looked, fresh = self._looked(body.system, body.picture)
        height, width = looked.picture.pixels.shape[:2]
        seconds = time.perf_counter() - started if fresh else 0.0
        return LookAnswer(width=width, height=height, words=looked.words, seconds=seconds)

    def masks(self, body: MasksBody) -> MasksAnswer:
        """Answers what is said of one thing.

        Raises:
            BottegaError: Nothing is said, it is outside the picture, or the system cannot be asked so.
        """
        looked, _ = self._looked(body.system, body.picture)
        started = time.perf_counter()
        prompts, doubtful = self._prompts(looked, body)
        segments = looked.segmenter.prompt(looked.embedding, prompts, multimask=True)
        if body.glance:
            best = segments.best()
            made = candidates(best.masks()[0], best.scores[0])
            return MasksAnswer(answer="", candidates=made, seconds=time.perf_counter() - started)
        if not doubtful:
            sure = looked.segmenter.prompt(looked.embedding, prompts, multimask=False)
            segments = _joined(sure, segments)
        name = secrets.token_hex(8)
        looked.answers.put(name, segments)
        made = candidates(segments.masks()[0], segments.scores[0])
        return MasksAnswer(answer=name, candidates=made, seconds=time.perf_counter() - started)

    def logits(self, system: str, picture: Picture, answer: str, candidate: int) -> np.ndarray | None:
        """The raw logits of a candidate, float32 `(s, s)`; None when the answer is no longer remembered."""
        source = self._toolbox.source(picture)
        looked = self._looks.find((system, str(source.path)))
        segments = None if looked is None else looked.answers.find(answer)
        if segments is None or candidate >= segments.scores.shape[1]:
            return None
        return segments.low_res_logits[0, candidate].float().cpu().numpy()

    def close(self) -> None:
        """Frees what was encoded."""
        self._looks.clear()

    def __len__(self) -> int:
        return len(self._looks)

    def _looked(self, system: str, given: Picture) -> tuple[Looked, bool]:
        """The encoded picture, and whether it was encoded now."""
        source, made = self._toolbox.source(given), []

        def make() -> Looked:
            segmenter, picture = self._toolbox.segmenter(system), self._toolbox.open(given)
            made.append(True)
            embedding = segmenter.encode(picture.pixels)
            segmenter.prompt(embedding, click([(0.0, 0.0)]))  # the first is the slowest: nobody waits for it
            return Looked(picture, segmenter, embedding, _reads(segmenter))

        return self._looks.get((system, str(source.path)), make), bool(made)

    def _prompts(self, looked: Looked, body: MasksBody) -> tuple[Prompts, bool]:
        """What is said as prompts, and whether it leaves open what is meant."""
        height, width = looked.picture.pixels.shape[:2]
        for spot in body.spots:
            if spot.x > width - 0.5 or spot.y > height - 0.5:
                raise RequestError.of("a click", f"{spot.x:g},{spot.y:g}", f"inside the picture, {width} x {height}")
        spots = [((spot.x, spot.y), INSIDE if spot.inside else OUTSIDE) for spot in body.spots]
        box, mask, words = body.box, None, None
        if box is not None and (box.right <= box.left or box.bottom <= box.top):
            raise RequestError("the box is empty; draw it from corner to corner")
        if body.painted:
            painted = looked.picture.mask(body.painted)
            if not painted.any():
                raise RequestError("nothing is painted; paint over the thing")
            mask = rough_mask(painted, looked.segmenter.low_res_side)
            if not spots:
                x, y = middle_pixels(torch.from_numpy(painted)[None])[0].tolist()
                spots = [((x, y), INSIDE)]
        earlier = None if body.refines is None else looked.answers.find(body.refines.answer)
        if earlier is not None and body.refines is not None and body.refines.candidate < earlier.scores.shape[1]:
            mask = earlier.low_res_logits[:, body.refines.candidate]
        if body.words:
            words = looked.segmenter.read((body.words,))
        if not (spots or box or mask is not None or words is not None):
            raise RequestError("nothing is said of the thing; click on it, draw a box around it, or paint over it")
        prompts = Prompts(
            points=torch.tensor([[place for place, _ in spots]], dtype=torch.float32) if spots else None,
            labels=torch.tensor([[label for _, label in spots]]) if spots else None,
            boxes=None if box is None else torch.tensor([(box.left, box.top, box.right, box.bottom)]),
            masks=mask,
            words=words,
        )
        return prompts, len(spots) == 1 and len(prompts.given) == 1


def candidates(masks: Tensor, scores: Tensor) -> list[Candidate]:
    """Masks, bool `(n, height, width)`, and their scores `(n,)` as messages."""
    boxes: Sequence[Sequence[int]] = boxes_of_masks(masks).tolist()
    made = []
    for mask, score, box in zip(masks.cpu().numpy(), scores.tolist(), boxes, strict=True):
        runs = RunLengths.of(mask)
        left, top, right, bottom = box if runs.area else (0, 0, 0, 0)
        sure = min(1.0, max(0.0, float(score)))
        made.append(Candidate(counts=runs.text(), score=sure, box=(left, top, right, bottom), area=runs.area))
    return made


def _joined(first: Segments, second: Segments) -> Segments:
    return Segments(
        low_res_logits=torch.cat((first.low_res_logits, second.low_res_logits), dim=1),
        scores=torch.cat((first.scores, second.scores), dim=1),
        frame=first.frame,
    )


def _reads(segmenter: Segmenter) -> bool:
    """Whether a segmenter can be asked in words."""
    try:
        segmenter.read(("a thing",))
    except RequestError:
        return False
    return True
