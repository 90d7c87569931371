"""Mask tools against slow references and against COCO's own texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bottega.errors import RequestError
from bottega.ops import (
    RunLengths,
    box_overlaps,
    boxes_of_masks,
    coco_segmentation,
    depths,
    grown,
    label_regions,
    mask_overlaps,
    non_maximum_suppression,
    stability,
    without_small_holes,
    without_small_islands,
)


def random_masks(count, height=17, width=23, seed=0):
    noise = torch.rand(count, 1, 5, 6, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(noise, (height, width), mode="bilinear")[:, 0]
    return smooth > torch.linspace(0.2, 0.8, count)[:, None, None]


def test_suppression_keeps_what_a_double_loop_keeps():
    generator = torch.Generator().manual_seed(1)
    low = torch.rand(60, 2, generator=generator) * 20
    boxes = torch.cat((low, low + 8 + torch.rand(60, 2, generator=generator) * 4), dim=1)
    scores = torch.rand(60, generator=generator).mul(8).round()  # many are equal
    for threshold in (0.1, 0.4, 0.7):
        kept: list[int] = []
        for i in sorted(range(60), key=lambda i: (-scores[i], i)):
            if all(box_overlaps(boxes[i : i + 1], boxes[j : j + 1]) <= threshold for j in kept):
                kept.append(i)
        assert non_maximum_suppression(boxes, scores, threshold).tolist() == kept
        assert len(kept) < 60
    assert non_maximum_suppression(boxes[:0], scores[:0], 0.5).tolist() == []


def test_overlaps_of_boxes():
    boxes = torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 5, 5]])
    expected = torch.tensor([[1, 1 / 7, 0], [1 / 7, 1, 0], [0, 0, 0]])
    torch.testing.assert_close(box_overlaps(boxes, boxes), expected)


def test_boxes_and_overlaps_of_masks():
    masks = torch.zeros(3, 5, 7, dtype=torch.bool)
    masks[0, 1:4, 2:6] = True
    masks[1, 4, 6] = True
    assert boxes_of_masks(masks).tolist() == [[2, 1, 5, 3], [6, 4, 6, 4], [0, 0, 0, 0]]
    assert mask_overlaps(masks[:1], masks).tolist() == [1, 0, 0]
    assert mask_overlaps(masks[2], masks[2]) == 1


def test_stability_of_a_slope():
    slope = torch.linspace(-4.5, 4.5, 10).repeat(2, 1)
    assert stability(slope) == pytest.approx(4 / 6)
    assert stability(slope, threshold=1.0, offset=2.0) == pytest.approx(2 / 6)
    assert stability(slope - 100) == 0
    assert stability(slope * 100) == 1


PLAIN = [
    (np.zeros((4, 3), dtype=bool), [12]),
    (np.ones((4, 3), dtype=bool), [0, 12]),
    (np.eye(3, dtype=bool), [0, 1, 3, 1, 3, 1]),
    (np.array([[0, 1, 1], [0, 0, 1]], dtype=bool), [2, 1, 1, 2]),
]


@pytest.mark.parametrize(("mask", "counts"), PLAIN)
def test_run_lengths_are_by_columns(mask, counts):
    runs = RunLengths.of(mask)
    assert list(runs.counts) == counts
    assert runs.area == mask.sum()


def pattern(height, width, k):
    y, x = np.mgrid[:height, :width]
    return (x * x + k * y * x + 3 * y) // (5 + k) % 3 == 0


COCO = {
    (9, 14, 1): "0240M02O00O01000O000O00010O010O00010O00000000030M00010O020O000010O31NON031O12",
    (40, 33, 2): "034000000000NO001O000001O01O0000N01000000000000000000000000000O00010O00010O00010O00010O00010O0007"
    "0I0000000000070I00000011OO01000O01020N0O01000O01020N10O010O010O010O010O1011O0001O01O000NO630O01[1OeN10O01MM01O"
    "0001O01O000NO110O010O010O010O010O010O20N0O01000O01020N0O01020M0000000000070I0000000000040M0O00010O00010O00010O"
    "00010O000110O000000000000000000000000011O000001O01O0000120000000000M2=20O01OLG000000000NO001O000001O01O0000N01"
    "000000000000000000000000000O00010O00010O00010O00010O00010O00070I0000000000070I00000011OO01000O01020N0O01000O01"
    "020N10O010O010O010O010O1011O0001O01O000NO630O01[1OeN10O01MM01O0001O01O000",
}
"""What pycocotools 2.0 (`mask.encode`) says of `pattern`."""


@pytest.mark.parametrize("size", COCO, ids=str)
def test_text_is_that_of_pycocotools(size):
    mask = pattern(*size)
    assert RunLengths.of(mask).text() == COCO[size]
    assert np.array_equal(RunLengths.parse(COCO[size], *size[:2]).mask(), mask)


def test_text_of_long_runs_is_that_of_pycocotools():
    mask = np.zeros((700, 900), dtype=bool)
    mask[300:, 5:80] = True
    mask[2, 2] = True
    assert RunLengths.of(mask).text() == "j[11mZ2_<_nM" + "0" * 147 + "TX`a0"


@pytest.mark.parametrize("seed", range(3))
def test_run_lengths_there_and_back(seed):
    for mask in random_masks(6, seed=seed).numpy():
        runs = RunLengths.of(mask)
        assert np.array_equal(runs.mask(), mask)
        assert RunLengths.parse(runs.text(), *mask.shape) == runs
        assert coco_segmentation(mask) == {"size": [17, 23], "counts": runs.text()}
    large = np.zeros((700, 900), dtype=bool)
    large[300:, 5:80] = True
    assert RunLengths.parse(RunLengths.of(large).text(), 700, 900).area == large.sum()


@pytest.mark.parametrize(("text", "says"), [("<", "12 pixels"), ("`", "cut short"), ("<é", "64")])
def test_broken_run_lengths_are_refused(text, says):
    with pytest.raises(RequestError, match=says):
        RunLengths.parse(text, 4, 4)


def test_regions_and_small_ones():
    mask = np.array(
        [
            [1, 1, 0, 0, 0, 0],
            [1, 0, 1, 0, 0, 1],
            [0, 1, 1, 0, 0, 0],
        ],
        dtype=bool,
    )
    labels, sizes = label_regions(mask)
    assert sizes.tolist() == [6, 1]
    assert np.array_equal(labels > 0, mask)
    assert label_regions(mask, corners=False)[1].tolist() == [3, 3, 1]
    assert label_regions(np.eye(3, dtype=bool), corners=False)[1].tolist() == [1, 1, 1]
    ring = np.pad(np.pad(np.zeros((1, 1), dtype=bool), 1, constant_values=True), 3)
    assert without_small_holes(ring, 2).sum() == 9
    assert without_small_holes(ring, 1).sum() == 8
    assert without_small_islands(mask, 2).sum() == 6
    assert without_small_islands(mask, 100).sum() == 6  # the largest stays
    assert not without_small_islands(np.zeros((2, 2), dtype=bool), 5).any()


def test_labels_grow_to_the_nearest():
    labels = np.array([[1, 0, 0, 0, 2]])
    assert grown(labels, np.ones((1, 5), dtype=bool), 1.0).tolist() == [[1, 1, 0, 2, 2]]
    assert grown(labels, labels > 0, 5.0).tolist() == labels.tolist()


def test_depths_count_the_pictures_edge_as_outside():
    assert depths(np.ones((3, 3), dtype=bool)).tolist() == [[1, 1, 1], [1, 2, 1], [1, 1, 1]]
