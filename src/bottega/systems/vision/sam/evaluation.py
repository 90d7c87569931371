"""Measuring Segment Anything on held-out scenes. Source: arXiv:2304.02643, sections 7.1 and 7.5."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from bottega.ops import boxes_of_masks, mask_overlaps
from bottega.processes.segmentation import AutomaticSettings, Embedding, Prompts, clicked, find_masks, flooded
from bottega.room import Measure, Progress, Report
from bottega.systems.vision.sam.inference import SamSegmenter
from bottega.systems.vision.sam.model import Sam
from bottega.worlds.segments import SegmentScene, SegmentsWorld

CLICKS = (1, 3, 8)
"""After how many clicks masks are measured."""
MOST = 12
"""Masks of a scene that are asked for."""
FOUND = 0.5
"""Overlap from which on a mask counts as found."""
Rows = dict[str, list[float]]


@torch.inference_mode()
def evaluate(model: Sam, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Overlaps with the truth after 1, 3 and 8 clicks and from boxes, beside what needs no learning.

    Args:
        model: The model.
        seed: Picks the scenes.
        limit: Most scenes.
        report: Called after every scene.
    """
    segmenter, rows = SamSegmenter(model), defaultdict(list)
    world = SegmentsWorld(split="heldout", size=256, seed=seed)
    for index in range(limit):
        _scene(segmenter, world.sample(index), rows, index)
        report(Progress(step=index + 1, total=limit, stage="click"))
    count = len(rows["single answer"])
    worded = {} if model.config.words is None else {
        "mIoU from a name": Measure(
            value=_percent(rows["name"]), baseline=_percent(rows["any thing"]), control=_percent(rows["other name"]),
            unit="%", samples=len(rows["name"]),
        )
    }  # fmt: skip
    made = {
        f"mIoU after {n} click{'s' if n > 1 else ''}": Measure(
            value=_percent(rows[f"{n} clicks"]), baseline=_percent(rows[f"{n} clicks, watershed"]),
            control=_percent(rows[f"{n} clicks, elsewhere"]), unit="%", samples=count,
        )
        for n in CLICKS
    }  # fmt: skip
    told, true = (np.array(rows[name]) for name in ("score", "overlap"))
    shuffled = np.random.default_rng(seed).permutation(told)
    return {
        **made,
        "mIoU from a box": Measure(
            value=_percent(rows["box"]), baseline=_percent(rows["box, filled"]), unit="%", samples=count
        ),
        "mIoU of the best of three": Measure(
            value=_percent(rows["best of three"]), baseline=_percent(rows["single answer"]), unit="%", samples=count
        ),
        "correlation of score and overlap": Measure(
            value=_correlation(told, true), control=_correlation(shuffled, true), samples=len(true)
        ),
        "error of the score": Measure(
            value=100 * float(np.abs(told - true).mean()),
            baseline=100 * float(np.abs(true.mean() - true).mean()),
            unit="%",
            higher_is_better=False,
            samples=len(true),
        ),
        "things found without a prompt": Measure(
            value=_percent(rows["found"]), baseline=_percent(rows["found by the watershed"]), unit="%",
            samples=len(rows["found"]),
        ),
        **worded,
    }  # fmt: skip


def _scene(segmenter: SamSegmenter, scene: SegmentScene, rows: Rows, index: int) -> None:
    """One scene's rows: masks from clicks, boxes and nothing."""
    chosen = np.random.default_rng(index).permutation(len(scene.masks))[:MOST]
    truths = torch.from_numpy(scene.masks[chosen])
    embedding = segmenter.encode(scene.picture)
    for number, now in enumerate(clicked(segmenter, embedding, truths, max(CLICKS)), 1):
        if number == 1:
            _first(segmenter, embedding, truths, now.points, rows)
        if number in CLICKS:
            floods = [flooded(scene.picture, *given) for given in zip(now.points, now.labels, strict=True)]
            rows[f"{number} clicks"] += now.overlaps.tolist()
            rows[f"{number} clicks, watershed"] += _overlaps(np.stack(floods), truths)
    elsewhere = truths.roll(shifts=(truths.shape[1] // 2, truths.shape[2] // 3), dims=(1, 2))
    for number, now in enumerate(clicked(segmenter, embedding, truths, max(CLICKS), wanted=elsewhere), 1):
        if number in CLICKS:
            rows[f"{number} clicks, elsewhere"] += now.overlaps.tolist()
    boxes = boxes_of_masks(truths).float()
    made = segmenter.prompt(embedding, Prompts(boxes=boxes), multimask=False)
    rows["box"] += mask_overlaps(made.masks()[:, 0].cpu(), truths).tolist()
    rows["box, filled"] += _overlaps(_filled(boxes, truths.shape[1:]), truths)
    _without_prompt(segmenter, scene, rows)
    if segmenter.model.config.words is not None:
        _from_names(segmenter, embedding, scene, rows)


def _first(segmenter: SamSegmenter, embedding: Embedding, truths: Tensor, points: Tensor, rows: Rows) -> None:
    """One click: three answers against one, and what the scores say of all."""
    prompts = Prompts(points=points, labels=torch.ones(points.shape[:2], dtype=torch.long))
    several, single = (segmenter.prompt(embedding, prompts, multimask=many) for many in (True, False))
    overlaps = mask_overlaps(several.masks().cpu(), truths[:, None])
    rows["best of three"] += overlaps.amax(1).tolist()
    rows["single answer"] += mask_overlaps(single.masks()[:, 0].cpu(), truths).tolist()
    rows["score"] += several.scores.amax(1).tolist()
    rows["overlap"] += overlaps.gather(1, several.scores.argmax(1, keepdim=True).cpu())[:, 0].tolist()


def _without_prompt(segmenter: SamSegmenter, scene: SegmentScene, rows: Rows) -> None:
    """Which whole things are among the masks of a grid of clicks."""
    wholes = torch.from_numpy(scene.masks[scene.levels == 0])
    if not len(wholes):
        return
    settings = AutomaticSettings(points=12, min_score=0.7, min_stability=0.8)
    found = find_masks(segmenter, scene.picture, settings)
    made = torch.zeros(1, *wholes.shape[1:], dtype=torch.bool) if found is None else torch.from_numpy(found.masks())
    rows["found"] += (mask_overlaps(made[:, None], wholes).amax(0) > FOUND).float().tolist()
    middle = torch.full((1,), 1)
    steps = (np.arange(6) + 0.5) / 6
    grid = [torch.tensor([[x, y]]) * scene.picture.shape[0] for x in steps for y in steps]
    floods = torch.from_numpy(np.stack([flooded(scene.picture, point, middle) for point in grid]))
    rows["found by the watershed"] += (mask_overlaps(floods[:, None], wholes).amax(0) > FOUND).float().tolist()


def _from_names(segmenter: SamSegmenter, embedding: Embedding, scene: SegmentScene, rows: Rows) -> None:
    """Whole things by their names, by the names of their neighbours, and what any thing of the scene would overlap."""
    wholes = np.flatnonzero(scene.levels == 0)
    names = [scene.names[number] for number in wholes]
    if len(set(names)) < len(names) or len(names) < 2:
        return  # a name must mean one thing, and there must be another one
    truths = torch.from_numpy(scene.masks[wholes])
    made = segmenter.prompt(embedding, Prompts(words=segmenter.read(tuple(names))), multimask=False)
    masks = made.masks()[:, 0].cpu()
    rows["name"] += mask_overlaps(masks, truths).tolist()
    rows["other name"] += mask_overlaps(masks.roll(1, 0), truths).tolist()
    rows["any thing"] += mask_overlaps(truths[:, None], truths).mean(1).tolist()


def _filled(boxes: Tensor, size: torch.Size) -> np.ndarray:
    """Boxes as masks."""
    out = np.zeros((len(boxes), *size), dtype=bool)
    for mask, (left, top, right, bottom) in zip(out, boxes.long().tolist(), strict=True):
        mask[top : bottom + 1, left : right + 1] = True
    return out


def _overlaps(masks: np.ndarray, truths: Tensor) -> list[float]:
    return mask_overlaps(torch.from_numpy(masks), truths).tolist()


def _percent(values: list[float]) -> float:
    return 100 * float(np.mean(values)) if values else 0.0


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's; 0 where one of them does not vary."""
    if len(first) < 2 or not first.std() or not second.std():
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
