import math

import numpy as np
import pytest

from bottega.worlds.shapes import COLORS, SHAPES, ShapesWorld
from bottega.worlds.shapes.drawing import coverage, tile
from bottega.worlds.shapes.world import is_held_out, nouns

AREAS = {  # of shapes in the unit circle's box
    "circle": math.pi,
    "square": 1.68**2,
    "triangle": 2.0 * 1.74 / 2,
    "star": 5 * math.sin(math.pi / 5) * 0.45,
    "cross": 4 * 0.34 * 1.32 + 4 * 0.34**2,
    "ring": math.pi * (1 - 0.56**2),
    "diamond": 2 * 0.66,
    "pentagon": 2.5 * math.sin(2 * math.pi / 5),
    "hexagon": 3 * math.sin(math.pi / 3),
    "oval": 0.6 * math.pi,
}


@pytest.mark.parametrize("shape", list(AREAS))
def test_areas(shape):
    radius = 20.0
    covered = coverage(shape, (31.3, 32.8), radius, (64, 64)).sum()
    assert covered == pytest.approx(AREAS[shape] * radius**2, rel=0.012)


@pytest.mark.parametrize("shape", list(SHAPES))
def test_edges_are_smooth_and_shapes_move_by_parts_of_a_pixel(shape):
    still = coverage(shape, (32.0, 32.0), 20.0, (64, 64))
    assert still.min() == 0.0
    assert still.max() == 1.0
    moved = coverage(shape, (32.25, 32.0), 20.0, (64, 64))
    columns = np.arange(64) + 0.5
    center_still, center_moved = ((picture.sum(axis=0) * columns).sum() / picture.sum() for picture in (still, moved))
    assert center_moved - center_still == pytest.approx(0.25, abs=0.02)
    whole = coverage(shape, (33.0, 32.0), 20.0, (64, 64))
    np.testing.assert_allclose(whole[:, 1:], still[:, :-1], atol=1e-9)


@pytest.mark.parametrize("shape", list(SHAPES))
def test_shapes_fit_their_tile(shape):
    opacity = tile(shape, "red", 40)[..., 3]
    rows, columns = (np.flatnonzero((opacity >= 128).any(axis=axis)) for axis in (1, 0))
    assert max(len(rows), len(columns)) > 30
    middle = (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2
    assert middle == pytest.approx((19.5, 19.5), abs=2.5)


def test_colors_can_be_told_apart():
    values = np.array(list(COLORS.values()), dtype=float)
    distance = np.linalg.norm(values[:, None] - values[None], axis=-1)
    assert (distance + 1e3 * np.eye(len(values))).min() > 50


def test_split_is_complete_in_colors_and_shapes():
    train = [noun.phrase.split() for noun in nouns() if not is_held_out(noun)]
    heldout = [noun.phrase.split() for noun in nouns() if is_held_out(noun)]
    assert {color for color, _ in train} == set(COLORS)
    assert {shape for _, shape in train} == {shape for _, shape in heldout} == set(SHAPES)
    assert 0.07 < len(heldout) / len(nouns()) < 0.12


def test_pictures_come_from_their_split():
    hidden = {noun.id for noun in nouns() if is_held_out(noun)}
    for sample in ShapesWorld().batch(range(200)):
        assert not {thing.id for thing in sample.things} & hidden
    for sample in ShapesWorld(split="heldout").batch(range(100)):
        assert {thing.id for thing in sample.things} & hidden


def test_mask_shows_the_named_color():
    for sample in ShapesWorld().batch(range(100)):
        for thing, mask in zip(sample.things, sample.masks, strict=True):
            seen = np.median(sample.picture[mask], axis=0)
            distance = {color: np.abs(seen - value).sum() for color, value in COLORS.items()}
            assert min(distance, key=distance.__getitem__) == thing.name.split()[0]
