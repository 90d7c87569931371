"""Clicks, sessions and the mask generator on a segmenter whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bottega.errors import RequestError
from bottega.ops import boxes_of_masks, mask_overlaps
from bottega.processes.segmentation import (
    INSIDE,
    OUTSIDE,
    Annotator,
    AutomaticSettings,
    Embedding,
    Frame,
    Prompts,
    Segments,
    Session,
    assisted,
    automatic,
    click,
    clicked,
    find_masks,
    flooded,
    middle_pixels,
    next_labels,
    random_pixels,
    rough_boxes,
    semi_automatic,
    wrong,
)
from bottega.processes.segmentation.automatic import crop_boxes, grid


class ColourSegmenter:
    """Answers a click with all that has the clicked pixel's colour, exactly; `scores` by red, else 0."""

    def __init__(self, scores):
        self.scores, self.encoded = scores, 0

    low_res_side = 64

    def encode(self, picture):
        self.encoded += 1
        frame = Frame(picture.shape[0], picture.shape[1], 64)
        rows, columns = frame.inner
        seen = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()
        square = torch.zeros(3, 64, 64)
        square[:, :rows, :columns] = F.interpolate(seen, (rows, columns), mode="nearest")[0]
        return Embedding(square, frame)

    def prompt(self, embedding, prompts, *, multimask=True):
        square, answers, scores = embedding.features, [], []
        for points in embedding.frame.to_square(prompts.points):
            column, row = points[0].floor().long().clamp(0, 63).tolist()
            colour = square[:, row, column]
            answers.append((square == colour[:, None, None]).all(0).float() * 20 - 10)
            scores.append(self.scores.get(int(colour[0]), 0.0))
        logits, scores = torch.stack(answers)[:, None], torch.tensor(scores)[:, None]
        return Segments(low_res_logits=logits, scores=scores, frame=embedding.frame)

    def read(self, texts):
        raise RequestError("no words here")


def picture_of_squares():
    picture = np.full((64, 64, 3), 10, dtype=np.uint8)
    picture[8:24, 8:24] = 100
    picture[36:60, 30:58] = 200
    return picture


def test_masks_without_prompts_are_those_that_are_sure():
    segmenter = ColourSegmenter({100: 0.95, 200: 0.9, 10: 0.5})
    told = []
    found = find_masks(
        segmenter, picture_of_squares(), AutomaticSettings(points=8, at_once=20), lambda *now: told.append(now)
    )
    assert found is not None
    assert found.boxes.tolist() == [[8, 8, 23, 23], [30, 36, 57, 59]]  # best first, each once
    assert told == [(20, 64), (40, 64), (60, 64), (64, 64)]
    assert segmenter.encoded == 1
    records = found.coco()
    assert [record["area"] for record in records] == [256, 24 * 28]
    assert records[0]["bbox"] == [8, 8, 16, 16]
    assert np.array_equal(found.masks()[1], picture_of_squares()[..., 0] == 200)
    assert find_masks(ColourSegmenter({}), picture_of_squares(), AutomaticSettings(points=4)) is None


def test_crops_prefer_the_smaller_and_drop_what_they_cut():
    segmenter = ColourSegmenter({100: 0.95, 200: 0.9})
    settings = AutomaticSettings(points=8, crop_layers=1, crop_edge=1.0)
    found = find_masks(segmenter, picture_of_squares(), settings)
    assert found is not None
    assert segmenter.encoded == 5
    assert len(found) == 2
    assert {tuple(crop) for crop in found.crops.tolist()} == {(0, 0, 43, 43), (22, 22, 64, 64)}
    areas = sorted(run.area for run in found.runs)  # what a crop's edge cuts is not among them
    assert areas == pytest.approx([256, 24 * 28], rel=0.05)


def test_small_regions_go():
    picture = picture_of_squares()
    picture[10:12, 10:12] = 10  # a hole
    picture[2, 60] = 100  # an island
    segmenter = ColourSegmenter({100: 0.95})
    found = find_masks(segmenter, picture, AutomaticSettings(points=16, min_region=9))
    assert found is not None
    assert found.boxes.tolist() == [[8, 8, 23, 23]]
    assert found.runs[0].area == 256


def test_published_grid_and_crops():
    assert grid(AutomaticSettings(points=2), 0).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    assert len(grid(AutomaticSettings(points=32, crop_points=2), 2)) == 64
    boxes = list(crop_boxes(100, 160, AutomaticSettings(crop_layers=1)))
    assert boxes == [
        ((0, 0, 160, 100), 0),
        ((0, 0, 97, 67), 1), ((0, 33, 97, 100), 1), ((63, 0, 160, 67), 1), ((63, 33, 160, 100), 1),
    ]  # fmt: skip


def test_clicks_fall_on_what_is_wrong():
    truth = torch.zeros(1, 64, 64, dtype=torch.bool)
    truth[0, 36:60, 30:58] = True
    segmenter = ColourSegmenter({200: 0.9})
    embedding = segmenter.encode(picture_of_squares())
    (first,) = clicked(segmenter, embedding, truth, 1)
    assert 36 <= first.points[0, 0, 1] < 60
    assert first.labels.tolist() == [[INSIDE]]
    assert first.overlaps.tolist() == [1.0]
    half = truth.clone()
    half[0, :48] = False
    missed, extra = wrong(half, truth)
    assert missed.sum() == 12 * 28
    assert not extra.any()
    assert middle_pixels(missed)[0, 1] in (41.0, 42.0)
    assert next_labels(torch.tensor([[31.0, 50.0]]), truth).tolist() == [INSIDE]
    assert next_labels(torch.tensor([[3.0, 5.0]]), truth).tolist() == [OUTSIDE]


def test_random_clicks_cover_a_region_evenly():
    region = torch.zeros(4000, 4, 5, dtype=torch.bool)
    region[:, 1, 2] = region[:, 3, 4] = True
    points = random_pixels(region, torch.Generator().manual_seed(0))
    share = (points == torch.tensor([2.0, 1.0])).all(-1).float().mean()
    assert ((points == torch.tensor([2.0, 1.0])).all(-1) | (points == torch.tensor([4.0, 3.0])).all(-1)).all()
    assert share == pytest.approx(0.5, abs=0.03)
    anywhere = random_pixels(torch.zeros(1, 4, 5, dtype=torch.bool))
    assert (anywhere >= 0).all()


def test_rough_boxes_are_off_by_a_tenth_and_never_outside():
    mask = torch.zeros(2000, 100, 100, dtype=torch.bool)
    mask[:, 20:60, 30:80] = True
    off = rough_boxes(mask, torch.Generator().manual_seed(0)) - boxes_of_masks(mask)
    assert off[:, 0].std() == pytest.approx(0.1 * 49, rel=0.1)
    assert off[:, 1].std() == pytest.approx(0.1 * 39, rel=0.1)
    assert off.abs().max() <= 20
    full = torch.ones(500, 100, 100, dtype=torch.bool)
    assert rough_boxes(full).amin() >= 0
    assert rough_boxes(full).amax() <= 99
    assert (rough_boxes(mask, side=256) - boxes_of_masks(mask)).abs().max() <= 5


def test_watershed_finds_an_even_square():
    points, labels = torch.tensor([[44.0, 48.0], [4.0, 4.0]]), torch.tensor([1, 0])
    made = torch.from_numpy(flooded(picture_of_squares(), points, labels))
    assert mask_overlaps(made, torch.from_numpy(picture_of_squares()[..., 0] == 200)) > 0.85


def test_session_encodes_once_and_best_is_by_score():
    segmenter = ColourSegmenter({100: 0.95})
    session = Session(segmenter, picture_of_squares())
    for _ in range(3):
        made = session(click([(12, 12)]))
    assert segmenter.encoded == 1
    assert made.masks().shape == (1, 1, 64, 64)
    several = Segments(
        low_res_logits=torch.arange(3.0)[None, :, None, None].expand(2, 3, 4, 4),
        scores=torch.tensor([[0.1, 0.9, 0.3], [0.8, 0.2, 0.4]]),
        frame=made.frame,
    )
    assert several.best().low_res_logits[:, 0, 0, 0].tolist() == [1.0, 0.0]
    assert len(several[:1].scores) == 1


def test_prompts_must_fit_together():
    with pytest.raises(ValueError, match="one label"):
        Prompts(points=torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match="labels"):
        Prompts(points=torch.zeros(1, 2, 2), labels=torch.zeros(1, 3))
    with pytest.raises(ValueError, match="needs points"):
        Prompts()
    both = Prompts(points=torch.zeros(5, 2, 2), labels=torch.ones(5, 2), boxes=torch.zeros(5, 4))
    assert len(both.rows(1, 4)) == 3
    with pytest.raises(RequestError, match="crop_layers"):
        AutomaticSettings(crop_layers=9)


def truths_of_squares():
    red = picture_of_squares()[..., 0]
    halves = red == 200
    return np.stack([red == 100, red == 200, halves & (np.arange(64)[:, None] < 48)])


def test_a_person_takes_what_fits_and_draws_what_does_not():
    """The two squares take one click each; their half cannot be had by clicks and is drawn by hand."""
    segmenter, person = ColourSegmenter({100: 0.95, 200: 0.9}), Annotator(patience=3, drawing=10.0, budget=100.0)
    made = assisted(segmenter, picture_of_squares(), truths_of_squares(), person)
    assert len(made.masks) == 3
    assert made.spent == pytest.approx((1 + 1) + (3 + 10 + 1) + (1 + 1))
    assert made.time_per_mask == pytest.approx(6.0)
    assert np.array_equal(made.masks[0], truths_of_squares()[1])  # the most prominent first
    short = assisted(segmenter, picture_of_squares(), truths_of_squares(), Annotator(patience=3, budget=5.0))
    assert len(short.masks) == 1
    assert short.spent == 2


def test_what_is_filled_in_leaves_time_for_the_rest():
    segmenter = ColourSegmenter({100: 0.95, 200: 0.9, 10: 0.93})
    person, settings = Annotator(patience=3, budget=16.0), AutomaticSettings(points=8)
    alone = assisted(segmenter, picture_of_squares(), truths_of_squares(), person)
    helped = semi_automatic(segmenter, picture_of_squares(), truths_of_squares(), person, settings)
    assert (len(alone.masks), alone.filled) == (2, 0)
    assert (len(helped.masks), helped.filled) == (3, 2)
    assert helped.spent == 1 + 14  # the ground is thrown away, the half is drawn
    nobody = automatic(segmenter, picture_of_squares(), settings)
    assert (len(nobody.masks), nobody.filled, nobody.spent) == (3, 3, 0.0)
    with pytest.raises(RequestError, match="content"):
        Annotator(content=0.0)
