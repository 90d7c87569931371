"""The weights that come with the package find held-out things as their card says, better than simple methods do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import bottega
from bottega.processes.segmentation import Prompts, Session, click
from bottega.systems.vision.sam.inference import SamSegmenter
from bottega.systems.vision.sam.model import Sam
from bottega.weights import bundled_path, card_path, read_card
from bottega.worlds.segments import SegmentsWorld

ROOM = Path(__file__).parents[1]
SCENES = 8


@pytest.fixture(scope="module")
def metrics() -> dict[str, float]:
    return dict(read_card(card_path(bundled_path(ROOM, "tiny"))).metrics)


@pytest.fixture(scope="module")
def segmenter() -> SamSegmenter:
    model = bottega.load("sam").model
    assert isinstance(model, Sam)
    return SamSegmenter(model)


def test_the_file_is_small() -> None:
    assert bundled_path(ROOM, "tiny").stat().st_size < 6e6


@pytest.mark.parametrize("name", ["mIoU after 3 clicks", "mIoU after 8 clicks", "mIoU from a box"])
def test_recorded_figures_beat_flooding_and_filled_boxes(name: str, metrics: dict[str, float]) -> None:
    assert metrics[name] > metrics[f"{name}: baseline"] + 5
    assert metrics.get(f"{name}: control", 0.0) < metrics[name] / 4


def test_recorded_clicks_help_and_three_answers_are_better_than_one(metrics: dict[str, float]) -> None:
    one, three, eight = (metrics[f"mIoU after {count}"] for count in ("1 click", "3 clicks", "8 clicks"))
    assert one < three < eight
    assert metrics["mIoU of the best of three"] > one + 10
    assert metrics["correlation of score and overlap"] > metrics["correlation of score and overlap: control"] + 0.15


def test_boxes_find_whole_things_and_wrong_boxes_do_not(segmenter: SamSegmenter) -> None:
    """Measured anew, on held-out scenes of the evaluation's kind: well above what boxes of other things give."""
    world, right, wrong = SegmentsWorld(split="heldout", seed=3), list[float](), list[float]()
    for index in range(SCENES):
        scene = world.sample(index)
        wholes = scene.masks[scene.levels == 0]
        session = Session(segmenter, scene.picture)
        found = session(Prompts(boxes=_boxes(wholes)), multimask=False).masks()[:, 0].numpy()
        right += [_overlap(mask, truth) for mask, truth in zip(found, wholes, strict=True)]
        if len(wholes) > 1:
            others = np.roll(wholes, 1, axis=0)
            wrong += [_overlap(mask, truth) for mask, truth in zip(found, others, strict=True)]
    assert np.mean(right) > 0.6
    assert np.mean(wrong) < 0.15


def test_a_click_far_from_everything_does_not_take_the_thing(segmenter: SamSegmenter) -> None:
    scene = SegmentsWorld(split="heldout", seed=3).sample(0)
    rows, columns = np.nonzero(scene.masks[0])
    middle = len(rows) // 2
    inside = click([(float(columns[middle]), float(rows[middle]))])
    free_rows, free_columns = np.nonzero(~scene.masks.any(0))
    outside = click([(float(free_columns[0]), float(free_rows[0]))])
    with torch.inference_mode():
        session = Session(segmenter, scene.picture)
        taken, left = (session(prompt).best().masks()[0, 0].numpy() for prompt in (inside, outside))
    assert _share(taken, scene.masks[0]) > 2 * _share(left, scene.masks[0])


def _boxes(masks: np.ndarray) -> torch.Tensor:
    boxes = []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        boxes.append((columns.min(), rows.min(), columns.max(), rows.max()))
    return torch.tensor(np.array(boxes), dtype=torch.float32)


def _overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    return float((mask & truth).sum() / max((mask | truth).sum(), 1))


def _share(mask: np.ndarray, truth: np.ndarray) -> float:
    return float((mask & truth).sum() / truth.sum())
