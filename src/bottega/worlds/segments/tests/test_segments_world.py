"""The world of segments."""

from __future__ import annotations

import numpy as np
import pytest

from bottega.errors import RequestError
from bottega.worlds.contexts.emoji_scenes import context_emoji
from bottega.worlds.emoji.atlas import load_index
from bottega.worlds.segments import SegmentsWorld
from bottega.worlds.segments.world import LEAST, patches


@pytest.mark.parametrize("emoji", [0.0, 1.0], ids=["figures", "emoji"])
def test_scenes_have_nested_masks(emoji):
    world, levels = SegmentsWorld(size=128, emoji=emoji), set()
    for index in range(12):
        scene = world.sample(index)
        assert scene.picture.shape == (128, 128, 3)
        assert scene.masks.dtype == bool
        assert len(scene.masks) == len(scene.levels) == len(scene.names) == len(scene.wholes) > 0
        assert (scene.masks.sum((1, 2)) >= int(128**2 * LEAST)).all()
        for mask, level, whole in zip(scene.masks, scene.levels, scene.wholes, strict=True):
            assert scene.levels[whole] == 0
            assert not (mask & ~scene.masks[whole]).any()
            assert level == 0 or mask.sum() < scene.masks[whole].sum()
        wholes = scene.masks[scene.levels == 0]
        assert wholes.sum(0).max() <= 1
        levels |= set(scene.levels.tolist())
    assert levels == ({0, 1} if emoji else {0, 1, 2})


def test_a_sample_depends_on_its_index_alone():
    world = SegmentsWorld(size=96)
    first = world.sample(5)
    world.sample(3)
    again = SegmentsWorld(size=96).sample(5)
    assert np.array_equal(first.picture, again.picture)
    assert np.array_equal(first.masks, again.masks)
    assert not np.array_equal(first.picture, SegmentsWorld(size=96, seed=1).sample(5).picture)


def test_held_out_emoji_are_never_trained_on():
    names = {split: {load_index()[i].base for i in context_emoji(split)} for split in ("train", "heldout")}
    assert not names["train"] & names["heldout"]
    for split in names:
        world = SegmentsWorld(split=split, size=64, emoji=1.0)
        shown = {name for index in range(8) for name in world.sample(index).names}
        assert shown <= {load_index()[i].phrase for i in context_emoji(split)}


def test_patches_are_the_even_regions_of_a_thing():
    picture = np.zeros((40, 60, 3), dtype=np.uint8)
    mask = np.zeros((40, 60), dtype=bool)
    mask[5:35, 10:50] = True
    picture[5:35, 10:30] = (200, 30, 30)
    picture[5:35, 30:50] = (30, 30, 200)
    left, right = patches(picture, mask)
    assert left.sum() + right.sum() >= mask.sum() - 30
    assert not (left & right).any()
    assert left[20, 15]
    assert right[20, 45]
    picture[5:35, 10:50] = (200, 30, 30)
    assert patches(picture, mask) == []  # one patch is the thing itself


@pytest.mark.parametrize("wrong", [{"size": 32}, {"emoji": 2.0}, {"most": 9}, {"split": "test"}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(RequestError, match=next(iter(wrong))):
        SegmentsWorld(**wrong)
