"""Emoji in places: deterministic, exact masks, splits kept, every kind of ground."""

from __future__ import annotations

import numpy as np
import pytest

from bottega.errors import RequestError
from bottega.worlds import Dice
from bottega.worlds.emoji import EmojiPlacesWorld, ground, held_out_ids, load_index, place


def test_a_sample_depends_on_seed_and_index_alone() -> None:
    world = EmojiPlacesWorld()
    first, again = world.sample(17), EmojiPlacesWorld(length=20)[17]
    assert np.array_equal(first.picture, again.picture)
    assert first.caption == again.caption
    assert not np.array_equal(first.picture, EmojiPlacesWorld(seed=1).sample(17).picture)


def test_masks_and_boxes_are_those_of_the_emoji() -> None:
    red_heart = next(emoji for emoji in load_index() if emoji.phrase == "red heart")
    for index in range(30):
        sample = place(red_heart, "a red heart", 64, 0.4, Dice(0, index))
        (mask,), (thing,) = sample.masks, sample.things
        assert sample.caption == "a red heart"
        assert mask.sum() > 50
        rows, columns = np.nonzero(mask)
        assert (thing.box.left, thing.box.top) == (columns.min(), rows.min())
        assert (thing.box.right, thing.box.bottom) == (columns.max() + 1, rows.max() + 1)
        inside = sample.picture[mask].astype(int)
        assert (inside[:, 0] - inside[:, 1]).mean() > 60  # the heart is red, whatever the ground


def test_sizes_and_places_vary_within_the_picture() -> None:
    samples = EmojiPlacesWorld(scenes=0.0, smallest=0.3).batch(range(200))
    widths = [max(sample.things[0].box.width, sample.things[0].box.height) for sample in samples]
    assert min(widths) < 28
    assert max(widths) > 56
    lefts = [sample.things[0].box.left for sample in samples]
    assert len(set(lefts)) > 20


def test_splits_are_kept_and_scenes_come_as_often_as_asked() -> None:
    held = held_out_ids()
    train = EmojiPlacesWorld(scenes=0.0).batch(range(300))
    assert not any(sample.things[0].id in held for sample in train)
    hidden = EmojiPlacesWorld(split="heldout", scenes=0.0).batch(range(50))
    assert all(sample.things[0].id in held for sample in hidden)
    several = [len(sample.things) > 1 for sample in EmojiPlacesWorld(scenes=0.5).batch(range(200))]
    assert 0.35 < np.mean(several) < 0.65


def test_grounds_are_of_all_kinds() -> None:
    made = [ground(32, Dice(0, index)) for index in range(200)]
    assert all(picture.shape == (32, 32, 3) and picture.dtype == np.uint8 for picture in made)
    colours = [len(np.unique(picture.reshape(-1, 3), axis=0)) for picture in made]
    white = sum(bool((picture == 255).all()) for picture in made)
    assert 30 < white < 90
    assert sum(count == 1 for count in colours) - white > 20  # one colour
    assert sum(count == 2 for count in colours) > 5  # stripes
    assert sum(count > 100 for count in colours) > 15  # noise


@pytest.mark.parametrize(("field", "value"), [("split", "test"), ("size", 8), ("scenes", 1.5), ("smallest", -0.1)])
def test_wrong_settings_are_refused(field: str, value: object) -> None:
    with pytest.raises(RequestError, match=field):
        EmojiPlacesWorld(**{field: value})
