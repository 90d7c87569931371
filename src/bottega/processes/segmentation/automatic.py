"""Every mask of a picture: a grid of clicks on the picture and on crops of it, then only what is sure, firm and new.

Source: Segment Anything, arXiv:2304.02643, section 4 and appendix B.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.ops import (
    RunLengths,
    box_areas,
    boxes_of_masks,
    non_maximum_suppression,
    stability,
    without_small_holes,
    without_small_islands,
)
from bottega.processes.segmentation.promptable import INSIDE, Embedding, Prompts, Segmenter

MASKS_AT_ONCE = 16
"""Masks that are held at a picture's own size at the same time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AutomaticSettings:
    """What counts as a mask. The defaults are the published ones.

    Args:
        points: Clicks along a side of the picture.
        at_once: Clicks that are answered together.
        min_score: Least predicted overlap with the truth.
        min_stability: Least overlap of the masks at logits of plus and minus `offset`.
        offset: See there.
        duplicates: Boxes of one crop that overlap more than this are of the same thing.
        crop_layers: Layers of crops; layer i cuts the picture into 2^i by 2^i of them.
        crop_duplicates: As `duplicates`, between crops; masks of smaller crops are preferred.
        crop_overlap: How much neighbouring crops of the first layer share, in shares of the picture's shorter side.
        crop_points: By how much each layer has fewer clicks along a side than the one before.
        crop_edge: Masks whose box comes so near to a crop's edge (in pixels) inside the picture are cut off: dropped.
        min_region: Holes and islands of fewer pixels are filled and dropped; 0 leaves masks as they are.
    """

    points: int = 32
    at_once: int = 64
    min_score: float = 0.88
    min_stability: float = 0.95
    offset: float = 1.0
    duplicates: float = 0.7
    crop_layers: int = 0
    crop_duplicates: float = 0.7
    crop_overlap: float = 512 / 1500
    crop_points: int = 1
    crop_edge: float = 20.0
    min_region: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("points", 1, 128), ("at_once", 1, 4096), ("min_score", 0, 1), ("min_stability", 0, 1), ("offset", 0, 100),
            ("duplicates", 0, 1), ("crop_layers", 0, 4), ("crop_duplicates", 0, 1), ("crop_overlap", 0, 1),
            ("crop_points", 1, 128), ("crop_edge", 0, 10_000), ("min_region", 0, 2**31),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise RequestError.of(name, getattr(self, name), f"between {low} and {high}")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FoundMasks:
    """Masks of one picture, each with what it was found by.

    Args:
        runs: The masks as run lengths.
        boxes: int64 `(found, 4)`: left, top, right, bottom, the last two inclusive.
        scores: Predicted overlap with the truth, `(found,)`.
        firmness: Overlap of the masks at two thresholds, `(found,)`.
        points: Column and row of the clicks, `(found, 2)`.
        crops: Boxes of the crops, `(found, 4)`.
        logits: Low-resolution logits of the crops' squares, `(found, s, s)`.
    """

    runs: tuple[RunLengths, ...]
    boxes: Tensor
    scores: Tensor
    firmness: Tensor
    points: Tensor
    crops: Tensor
    logits: Tensor

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, kept: Tensor) -> FoundMasks:
        """Some of the masks, by their indices."""
        runs = tuple(self.runs[i] for i in kept.tolist())
        names = ("boxes", "scores", "firmness", "points", "crops", "logits")
        return FoundMasks(runs=runs, **{name: getattr(self, name)[kept] for name in names})

    @classmethod
    def joined(cls, parts: list[FoundMasks]) -> FoundMasks:
        """The masks of several."""
        names = ("boxes", "scores", "firmness", "points", "crops", "logits")
        whole = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        return cls(runs=tuple(run for part in parts for run in part.runs), **whole)

    def masks(self) -> np.ndarray:
        """The masks, bool `(found, height, width)`."""
        return np.stack([run.mask() for run in self.runs])

    def coco(self) -> list[dict[str, object]]:
        """COCO annotations, without the numbers of picture and category."""
        rows = zip(self.runs, self.boxes.tolist(), self.scores, self.firmness, self.points, self.crops, strict=True)
        return [
            {
                "segmentation": {"size": [run.height, run.width], "counts": run.text()},
                "area": run.area,
                "bbox": [box[0], box[1], box[2] - box[0] + 1, box[3] - box[1] + 1],
                "iscrowd": 0,
                "predicted_iou": round(float(score), 6),
                "stability_score": round(float(firm), 6),
                "point_coords": [point.tolist()],
                "crop_box": [*crop[:2].tolist(), *(crop[2:] - crop[:2]).tolist()],
            }
            for run, box, score, firm, point, crop in rows
        ]


Told = Callable[[int, int], None]


def find_masks(
    segmenter: Segmenter,
    picture: np.ndarray,
    settings: AutomaticSettings,
    report: Told = lambda step, total: None,
) -> FoundMasks | None:
    """Finds every mask of a picture.

    Args:
        segmenter: Any promptable segmenter.
        picture: uint8 `(height, width, 3)`.
        settings: What counts as a mask.
        report: Called with the clicks answered so far and all of them.

    Returns:
        The masks, best first within each crop; None where nothing is sure and firm enough.
    """
    crops = list(crop_boxes(picture.shape[0], picture.shape[1], settings))
    total, done = sum(len(grid(settings, layer)) for _, layer in crops), 0
    parts: list[FoundMasks] = []
    for box, layer in crops:
        found: list[FoundMasks] = []
        for part, count in _crop_masks(segmenter, picture, settings, box, layer):
            done += count
            report(done, total)
            if part is not None:
                found.append(part)
        if found:
            part = FoundMasks.joined(found)
            parts.append(part[non_maximum_suppression(part.boxes.float(), part.scores, settings.duplicates)])
    if not parts:
        return None
    whole = FoundMasks.joined(parts)
    if len(crops) > 1:
        smallest_first = 1 / box_areas(whole.crops.float())
        whole = whole[non_maximum_suppression(whole.boxes.float(), smallest_first, settings.crop_duplicates)]
    return _cleaned(whole, settings) if settings.min_region else whole


def grid(settings: AutomaticSettings, layer: int) -> np.ndarray:
    """The clicks of a layer as shares of a crop's width and height, `(points, 2)`, row by row."""
    side = max(1, settings.points // settings.crop_points**layer)
    steps = (np.arange(side) + 0.5) / side
    return np.stack(np.meshgrid(steps, steps, indexing="xy"), axis=-1).reshape(-1, 2)


def crop_boxes(height: int, width: int, settings: AutomaticSettings) -> Iterator[tuple[tuple[int, int, int, int], int]]:
    """The crops as left, top, right, bottom (exclusive), each with its layer; the whole picture is layer 0."""
    yield (0, 0, width, height), 0
    for layer in range(1, settings.crop_layers + 1):
        side = 2**layer
        shared = int(settings.crop_overlap * min(height, width) * 2 / side)
        across, down = (math.ceil((shared * (side - 1) + length) / side) for length in (width, height))
        for column, row in product(range(side), repeat=2):
            left, top = column * (across - shared), row * (down - shared)
            yield (left, top, min(left + across, width), min(top + down, height)), layer


def _crop_masks(
    segmenter: Segmenter, picture: np.ndarray, settings: AutomaticSettings, box: tuple[int, int, int, int], layer: int
) -> Iterator[tuple[FoundMasks | None, int]]:
    """What is found in one crop, batch by batch, with the number of clicks."""
    left, top, right, bottom = box
    embedding = segmenter.encode(np.ascontiguousarray(picture[top:bottom, left:right]))
    clicks = torch.from_numpy(grid(settings, layer) * (right - left, bottom - top)).float()
    for batch in clicks.split(settings.at_once):
        yield _answers(segmenter, embedding, batch, settings, box, picture.shape[:2]), len(batch)


def _answers(
    segmenter: Segmenter,
    embedding: Embedding,
    clicks: Tensor,
    settings: AutomaticSettings,
    box: tuple[int, int, int, int],
    size: tuple[int, int],
) -> FoundMasks | None:
    """The masks of some clicks on a crop that are sure, firm, and not cut off by its edge."""
    prompts = Prompts(points=clicks[:, None], labels=torch.full((len(clicks), 1), INSIDE))
    made = segmenter.prompt(embedding, prompts)
    low, scores = made.low_res_logits.flatten(0, 1).float().cpu(), made.scores.flatten().float().cpu()
    sure = (scores > settings.min_score).nonzero()[:, 0]
    points = clicks.repeat_interleave(made.scores.shape[1], 0)
    offset = torch.tensor((box[0], box[1], box[0], box[1]))
    parts = []
    for rows in sure.split(MASKS_AT_ONCE):
        logits = embedding.frame.from_square(low[rows])
        firmness = stability(logits, offset=settings.offset)
        masks = logits > 0
        boxes = boxes_of_masks(masks) + offset
        keep = (firmness >= settings.min_stability) & ~_near_edge(boxes, box, size, settings.crop_edge)
        keep &= masks.any(-1).any(-1)
        kept = keep.nonzero()[:, 0]
        if not len(kept):
            continue
        rows = rows[kept]
        parts.append(
            FoundMasks(
                runs=tuple(RunLengths.of(_whole(mask.numpy(), box, size)) for mask in masks[kept]),
                boxes=boxes[kept], scores=scores[rows], firmness=firmness[kept], points=points[rows] + offset[:2],
                crops=torch.tensor(box).expand(len(rows), 4), logits=low[rows],
            )
        )  # fmt: skip
    return FoundMasks.joined(parts) if parts else None


def _near_edge(boxes: Tensor, crop: tuple[int, int, int, int], size: tuple[int, int], near: float) -> Tensor:
    """Whether boxes come near to an edge of the crop that is not near an edge of the picture."""
    own = torch.tensor(crop)
    whole = torch.tensor((0, 0, size[1], size[0]))
    return (((boxes - own).abs() <= near) & ((boxes - whole).abs() > near)).any(-1)


def _whole(mask: np.ndarray, box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """A crop's mask in the whole picture."""
    out = np.zeros(size, dtype=bool)
    out[box[1] : box[3], box[0] : box[2]] = mask
    return out


def _cleaned(found: FoundMasks, settings: AutomaticSettings) -> FoundMasks:
    """The masks without small holes and islands; of what is the same then, masks that were clean before stay."""
    before = [run.mask() for run in found.runs]
    after = [
        without_small_islands(without_small_holes(mask, settings.min_region), settings.min_region) for mask in before
    ]
    clean = torch.tensor([float(np.array_equal(a, b)) for a, b in zip(before, after, strict=True)])
    boxes = boxes_of_masks(torch.from_numpy(np.stack(after)))
    whole = replace(found, runs=tuple(RunLengths.of(mask) for mask in after), boxes=boxes)
    threshold = max(settings.duplicates, settings.crop_duplicates)
    return whole[non_maximum_suppression(boxes.float(), clean, threshold)]
