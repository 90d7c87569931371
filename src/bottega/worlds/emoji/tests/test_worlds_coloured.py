"""Coloured emoji: what the words say is what is there."""

from __future__ import annotations

import numpy as np
import pytest

from bottega.errors import RequestError
from bottega.worlds import ColouredEmojiWorld
from bottega.worlds.emoji import coloured_nouns

HUES = {"red": (221, 46, 68), "blue": (85, 172, 238), "green": (120, 177, 89), "black": (40, 40, 40)}


def test_there_are_eight_colours_of_three_shapes() -> None:
    nouns = coloured_nouns()
    assert len({noun.phrase for noun in nouns}) == len({noun.id for noun in nouns}) == 24


def test_samples_repeat_and_say_what_is_there() -> None:
    world = ColouredEmojiWorld()
    for index in range(40):
        sample, again = world.sample(index), world.sample(index)
        assert sample.caption == again.caption
        assert np.array_equal(sample.picture, again.picture)
        assert 1 <= len(sample.things) <= 2
        assert all(thing.name in sample.caption for thing in sample.things)
        assert not sample.masks.all(axis=0).any() or len(sample.masks) == 1


def test_places_bear_the_words_out() -> None:
    world, seen = ColouredEmojiWorld(), 0
    for index in range(200):
        sample = world.sample(index)
        if "left of" not in sample.caption:
            continue
        first, second = sample.caption.replace(" to the left of ", " left of ").split(" left of ")
        centres = {thing.name: thing.box.center[0] for thing in sample.things}
        assert centres[first.split(" ", 1)[1]] < centres[second.split(" ", 1)[1]]
        seen += 1
    assert seen > 10


def test_pictures_differ_in_colour_as_the_words_do() -> None:
    means = {}
    for index in range(400):
        sample = ColouredEmojiWorld().sample(index)
        for thing, mask in zip(sample.things, sample.masks, strict=True):
            means.setdefault(thing.name.split()[0], []).append(sample.picture[mask].mean(0))
    found = {name: np.mean(rows, axis=0) for name, rows in means.items()}
    for name in HUES:
        nearest = min(HUES, key=lambda other: float(np.abs(found[name] - np.array(HUES[other])).sum()))
        assert nearest == name


def test_held_out_pairs_are_not_trained() -> None:
    def pairs(split: str) -> set[frozenset[str]]:
        samples = ColouredEmojiWorld(split=split).batch(range(600))
        return {frozenset(thing.name for thing in sample.things) for sample in samples if len(sample.things) == 2}

    train, held_out = pairs("train"), pairs("heldout")
    assert not train & held_out
    assert len(train) > 100 > len(held_out) > 5


def test_bad_settings_are_refused() -> None:
    with pytest.raises(RequestError, match="size"):
        ColouredEmojiWorld(size=8)
