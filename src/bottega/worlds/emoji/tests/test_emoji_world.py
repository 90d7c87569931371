from collections import Counter

import numpy as np
import pytest

from bottega.errors import RequestError
from bottega.worlds import EmojiWorld
from bottega.worlds.emoji import compose, held_out_ids, load_atlas, load_index, split
from bottega.worlds.emoji.nouns import scene_nouns
from bottega.worlds.english import looks_plural


def test_a_single_is_its_tile():
    for sample in EmojiWorld(scenes=0.0, background=(9, 8, 7)).batch(range(50)):
        (thing,) = sample.things
        tile = load_atlas()[thing.id]
        np.testing.assert_array_equal(sample.picture, compose(tile, (9, 8, 7)))
        np.testing.assert_array_equal(sample.masks, tile[None, ..., 3] >= 128)
        assert sample.questions[0].answer == load_index()[thing.id].phrase == thing.name


def test_captions_name_the_emoji_or_its_keywords():
    for sample in EmojiWorld(scenes=0.0).batch(range(2000)):
        emoji = load_index()[sample.things[0].id]
        words = set(", ".join((emoji.phrase, *emoji.keywords)).replace(",", "").split())
        extra = set(sample.caption.replace(",", "").split()) - words
        assert extra <= {"emoji", "of", "a", "an", "picture", "emoji:", "with"}
        assert sample.caption == sample.caption.lower()
    captions = {sample.caption for sample in EmojiWorld(scenes=0.0).batch(range(400))}
    plain = {emoji.phrase for emoji in load_index()}
    assert 0.5 < len(captions & plain) / len(captions) < 0.85


@pytest.mark.parametrize("name", ["train", "heldout"])
def test_pictures_come_from_their_split(name):
    shown = [sample.things[0].id for sample in EmojiWorld(split=name, scenes=0.0).batch(range(3000))]
    assert set(shown) <= {emoji.id for emoji in split(name)}
    assert len(set(shown)) > (150 if name == "heldout" else 1200)


def test_scenes_never_show_held_out_tiles():
    for name in ("train", "heldout"):
        for sample in EmojiWorld(split=name, scenes=1.0).batch(range(200)):
            assert not {thing.id for thing in sample.things} & held_out_ids()
            assert 2 <= len(sample.things) <= 4


def test_share_of_scenes():
    counts = Counter(len(sample.things) > 1 for sample in EmojiWorld(scenes=0.15).batch(range(4000)))
    assert abs(counts[True] / 4000 - 0.15) < 0.02


def test_objects_are_drawn_more_often_than_single_skin_tones():
    shown = Counter(sample.things[0].id for sample in EmojiWorld(scenes=0.0).batch(range(30000)))
    emojis = split("train")
    objects = [shown[emoji.id] for emoji in emojis if emoji.group == "Food & Drink"]
    toned = [shown[emoji.id] for emoji in emojis if emoji.base == "woman astronaut"]
    assert np.mean(objects) / np.mean(toned) == pytest.approx(len(toned) ** 0.5, rel=0.35)


def test_augmented_pictures_stay_whole():
    plain, moved = EmojiWorld(scenes=0.0).batch(range(60)), EmojiWorld(scenes=0.0, augment=True).batch(range(60))
    different = 0
    for before, after in zip(plain, moved, strict=True):
        assert before.things[0].id == after.things[0].id
        assert before.caption == after.caption
        shrink = after.masks.sum() / before.masks.sum()
        assert 0.6 < shrink < 1.1
        different += not np.array_equal(before.picture, after.picture)
        rows, columns = np.nonzero(after.masks[0])
        box = after.things[0].box
        assert (box.left, box.top) == (columns.min(), rows.min())
        assert (box.right, box.bottom) == (columns.max() + 1, rows.max() + 1)
    assert different > 55


def test_map_style():
    world = EmojiWorld(length=5)
    assert len(world) == 5
    assert len(list(world)) == 5
    with pytest.raises(IndexError):
        world[5]
    with pytest.raises(RequestError, match="scenes is 1.5"):
        EmojiWorld(scenes=1.5)


def test_scene_nouns_are_plain_english():
    nouns = scene_nouns()
    assert len(nouns) > 700
    assert not [noun.phrase for noun in nouns if looks_plural(noun.phrase)]
    phrases = {noun.phrase for noun in nouns}
    assert {"red apple", "cat face", "fire engine", "teacher", "grinning face"} <= phrases
    assert not {"rice", "bread", "grapes", "twelve o'clock", "tokyo tower", "hammer and wrench"} & phrases
