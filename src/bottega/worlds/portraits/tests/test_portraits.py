"""Portraits are functions of an index, and critters' keypoints lie where their features were painted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bottega.errors import RequestError
from bottega.worlds import Dice, PortraitsWorld, open_world
from bottega.worlds.portraits import KEYPOINTS, KINDS, draw_critter, face_emojis, paint_critter


def test_samples_depend_on_seed_and_index_alone():
    world = open_world("portraits")
    first = world.sample(7)
    world.sample(3)
    assert np.array_equal(world.sample(7).picture, first.picture)
    assert not np.array_equal(PortraitsWorld(seed=1).sample(7).picture, first.picture)
    assert first.picture.shape == (64, 64, 3)
    assert {sample.kind for sample in world.batch(range(20))} == set(KINDS)
    with pytest.raises(RequestError, match="critters"):
        PortraitsWorld(critters=1.5)


def test_the_share_of_critters_is_kept():
    assert all(sample.kind == "critter" for sample in PortraitsWorld(critters=1.0).batch(range(10)))
    emoji = PortraitsWorld(critters=0.0).batch(range(10))
    assert all(sample.kind == "emoji face" and sample.keypoints.shape == (0, 2) for sample in emoji)
    assert {sample.caption for sample in emoji} <= {emoji.phrase for emoji in face_emojis()}


@pytest.mark.parametrize("size", [32, 64, 128])
def test_keypoints_scale_with_the_picture(size):
    critter = draw_critter(Dice(0, 5))
    _, _, small = paint_critter(critter, 64)
    picture, mask, places = paint_critter(critter, size)
    np.testing.assert_allclose((places + 0.5) / size, (small + 0.5) / 64, atol=1e-9)
    assert picture.shape == (size, size, 3)
    assert mask.shape == (size, size)


def test_a_nose_is_dark_where_its_keypoint_is():
    for index in range(20):
        picture, _, places = paint_critter(draw_critter(Dice(1, index)), 128)
        x, y = places[KEYPOINTS.index("nose")].round().astype(int)
        assert picture[y, x].mean() < 90


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"mouth": (0.25, 0.35, 0.1)}, "lower lip"),
        ({"turn": (1.0, 0.5)}, "left eye"),
        ({"spreads": (10.0, 50.0)}, "left ear tip"),
    ],
)
def test_what_moves_a_keypoint_changes_the_picture_there(change, name):
    critter = replace(draw_critter(Dice(2, 4)), species="rabbit", ears=(0.8, 0.8), tilt=0.0, radius=0.28,
                      center=(0.5, 0.6), mouth=(0.25, 0.0, 0.1), turn=(0.0, 0.0), spreads=(25.0, 25.0))  # fmt: skip
    before, _, old = paint_critter(critter, 96)
    after, _, new = paint_critter(replace(critter, **change), 96)
    place = KEYPOINTS.index(name)
    assert np.linalg.norm(new[place] - old[place]) > 2
    column, row = (old[place].round().astype(int) + new[place].round().astype(int)) // 2
    window = np.s_[max(row - 6, 0) : row + 7, max(column - 6, 0) : column + 7]
    assert np.abs(after[window].astype(int) - before[window]).max() > 40


def test_masks_cover_the_face():
    for sample in PortraitsWorld(seed=3).batch(range(12)):
        ground = sample.picture[0, 0].astype(int)
        outside = np.abs(sample.picture.astype(int) - ground).sum(2)[~sample.mask]
        assert sample.mask.mean() > 0.1
        assert np.median(outside) < 10
