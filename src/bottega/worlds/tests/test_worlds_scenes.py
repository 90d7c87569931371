import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bottega.errors import FileError, RequestError
from bottega.worlds import EmojiWorld, ShapesWorld, World, open_world, source_at
from bottega.worlds.emoji.nouns import scene_nouns
from bottega.worlds.english import NUMBERS, plural
from bottega.worlds.scenes import combination_is_held_out
from bottega.worlds.shapes.world import nouns

COUNT = 250
WORLDS = {
    "emoji": EmojiWorld(scenes=1.0),
    "emoji held out": EmojiWorld(scenes=1.0, split="heldout", seed=3),
    "emoji small": EmojiWorld(scenes=1.0, size=32),
    "shapes": ShapesWorld(),
    "shapes held out": ShapesWorld(split="heldout", seed=5),
}
SINGULAR = {noun.phrase: noun.phrase for noun in (*scene_nouns(), *nouns())}
SINGULAR |= {plural(noun.phrase): noun.phrase for noun in (*scene_nouns(), *nouns()) if noun.many}


@pytest.fixture(scope="module", params=list(WORLDS))
def scenes(request):
    return WORLDS[request.param].batch(range(COUNT))


def parse(mention):
    """ "two red apples", "a cat" or "the cat" as (number, singular)."""
    first, rest = mention.split(" ", 1)
    if first == "the" and rest.split(" ", 1)[0] in NUMBERS:
        first, rest = rest.split(" ", 1)
    number = NUMBERS.index(first) if first in NUMBERS else 1
    return number, SINGULAR[rest]


def boxes_of(sample, name):
    return [thing.box for thing in sample.things if thing.name == name]


def stands(sample, first, relation, second):
    """Whether every thing called `first` stands so to every thing called `second`."""
    tests = {
        "left of": lambda a, b: a.right <= b.left,
        "right of": lambda a, b: a.left >= b.right,
        "above": lambda a, b: a.bottom <= b.top,
        "below": lambda a, b: a.top >= b.bottom,
    }
    relation = {"to the left of": "left of", "to the right of": "right of", "under": "below"}.get(relation, relation)
    pairs = [(a, b) for a in boxes_of(sample, first) for b in boxes_of(sample, second)]
    assert pairs
    return all(tests[relation](a, b) for a, b in pairs)


OVERLAP = re.compile(r" (in front of|behind) ")
RELATION = r"(to the left of|to the right of|left of|right of|above|below|under)"


def test_captions_of_relations_are_true(scenes):
    seen = 0
    for sample in scenes:
        match = re.fullmatch(rf"(.+?) {RELATION} (.+)", sample.caption)
        if match is None:
            continue
        (count_a, a), (count_b, b) = parse(match[1]), parse(match[3])
        assert Counter(thing.name for thing in sample.things) == {a: count_a, b: count_b}
        assert stands(sample, a, match[2], b)
        seen += 1
    assert seen > COUNT // 8


def test_captions_of_depth_are_true(scenes):
    seen = 0
    for sample in scenes:
        match = re.fullmatch(r"(.+) (in front of|behind) (.+)", sample.caption)
        if match is None:
            continue
        a, b = parse(match[1])[1], parse(match[3])[1]
        front, back = (a, b) if match[2] == "in front of" else (b, a)
        depths = {thing.name: thing.depth for thing in sample.things}
        assert depths == {front: 0, back: 1}
        assert sample.things[sample.depth_order[0]].name == front
        seen += 1
    assert seen > COUNT // 25


def test_captions_of_sizes_are_true(scenes):
    seen = 0
    for sample in scenes:
        names = dict(re.findall(r"a (big|small) (.+?)(?= and a (?:big|small) |$)", sample.caption))
        if len(names) != 2:
            continue
        area = {thing.name: mask.sum() for thing, mask in zip(sample.things, sample.masks, strict=True)}
        assert area[names["big"]] >= 2 * area[names["small"]]
        seen += 1
    assert seen > COUNT // 50


def test_answers_are_true(scenes):
    kinds = Counter()
    for sample in scenes:
        names = Counter(thing.name for thing in sample.things)
        for question in sample.questions:
            kinds[question.text.split()[0]] += 1
            if match := re.fullmatch(r"how many (.+) are there\?", question.text):
                word = match[1]
                wanted = SINGULAR.get(word)
                if wanted not in names:  # "things", "red things", "circles"
                    parts = {"things": ""} | {
                        plural(noun.phrase.split()[1]): noun.phrase.split()[1] for noun in nouns()
                    }
                    part = parts.get(word, word.removesuffix(" things"))
                    number = sum(count for name, count in names.items() if part in ("", *name.split()))
                else:
                    number = names[wanted]
                assert question.answer == NUMBERS[number]
            elif match := re.fullmatch(rf"(?:is|are) (the .+?) {RELATION} (the .+)\?", question.text):
                (_, a), (_, b) = parse(match[1]), parse(match[3])
                assert question.answer == ("yes" if stands(sample, a, match[2], b) else "no")
            elif match := re.fullmatch(rf"what is {RELATION} (the .+)\?", question.text):
                count, name = parse(question.answer)
                assert names[name] == count
                assert stands(sample, name, match[1], parse(match[2])[1])
            elif match := re.fullmatch(r"what color is the (.+)\?", question.text):
                assert [name for name in names if match[1] in name.split()] == [f"{question.answer} {match[1]}"]
            elif match := re.fullmatch(r"what shape is the (.+) thing\?", question.text):
                assert [name for name in names if match[1] in name.split()] == [f"{match[1]} {question.answer}"]
    assert kinds["how"] > COUNT
    assert kinds["what"] > COUNT // 4
    assert kinds["is"] > COUNT // 10


def test_where_a_single_shape_stands():
    places = set()
    for sample in WORLDS["shapes"].batch(range(600)):
        for question in sample.questions:
            if question.text.startswith("where"):
                column, row = sample.things[0].box.center
                thirds = [int(place / 64 * 3) for place in (row, column)]
                words = {"left": 0, "right": 2, "top": 0, "bottom": 2}
                found = [words[word] for word in question.answer.split() if word in words]
                assert [third for third in thirds if third != 1] == found
                places.add(question.answer)
    assert len(places) == 9


def test_boxes_are_tight_and_masks_do_not_overlap(scenes):
    for sample in scenes:
        assert len(sample.things) == len(sample.masks) >= 1
        assert sample.masks.sum(axis=0).max() == 1
        for thing, mask in zip(sample.things, sample.masks, strict=True):
            rows, columns = np.nonzero(mask)
            box = thing.box
            assert (box.left, box.top) == (columns.min(), rows.min())
            assert (box.right, box.bottom) == (columns.max() + 1, rows.max() + 1)
        assert sorted(thing.depth for thing in sample.things) == list(range(len(sample.things)))


@pytest.mark.parametrize("name", list(WORLDS))
def test_masks_agree_with_the_picture(name):
    # The same scene over white and over black: their difference is what shows through, so the opacity is known exactly.
    white, black = WORLDS[name], replace(WORLDS[name], background=(0, 0, 0))
    for over_white, over_black in zip(white.batch(range(80)), black.batch(range(80)), strict=True):
        through = over_white.picture.astype(int) - over_black.picture
        assert through.min() >= -len(over_white.things)
        assert (np.ptp(through, axis=-1) <= 2 * len(over_white.things)).all()
        opacity = 255 - through.mean(axis=-1)
        covered = over_white.masks.any(axis=0)
        assert (opacity[covered] >= 128 - 2).all()
        hidden = [thing for thing in over_white.things if thing.depth] if OVERLAP.search(over_white.caption) else []
        loose = opacity[~covered] > 128 + 2
        assert loose.sum() <= (0 if not hidden else 6)
        np.testing.assert_array_equal(over_white.masks, over_black.masks)


def test_split_rules_of_emoji_scenes():
    def combinations_of(sample):
        identity = {noun.id: noun.identity for noun in scene_nouns()}
        counts = Counter(identity[thing.id] for thing in sample.things)
        pairs = list(combinations(sorted(counts), 2))
        return pairs + [(name, NUMBERS[count]) for name, count in counts.items() if count > 1]

    for split, novel in (("train", False), ("heldout", True)):
        for sample in EmojiWorld(scenes=1.0, split=split, seed=9).batch(range(300)):
            assert any(combination_is_held_out(*parts) for parts in combinations_of(sample)) == novel


@pytest.mark.parametrize("name", [*WORLDS, "emoji mixed", "emoji augmented"])
def test_same_seed_same_bits_in_any_order(name):
    extra = {"emoji mixed": EmojiWorld(scenes=0.5), "emoji augmented": EmojiWorld(scenes=0.0, augment=True)}
    world = extra.get(name) or WORLDS[name]
    indices = [0, 7, 3, 10**9, 12]
    forward, backward = world.batch(indices), [world.sample(index) for index in reversed(indices)][::-1]
    for a, b in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(a.picture, b.picture)
        np.testing.assert_array_equal(a.masks, b.masks)
        assert (a.caption, a.things, a.questions) == (b.caption, b.things, b.questions)
    other = replace(world, seed=world.seed + 1).batch(indices)
    assert any(a.caption != b.caption for a, b in zip(forward, other, strict=True))


def test_bits_do_not_depend_on_the_process():
    code = (
        "import hashlib; from bottega.worlds import EmojiWorld, ShapesWorld\n"
        "for world in (EmojiWorld(scenes=0.5), ShapesWorld()):\n"
        "    for sample in world.batch(range(20)): print(hashlib.sha256(sample.picture).hexdigest(), sample.caption)\n"
        "import sys; assert 'torch' not in sys.modules"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.count("\n") == 40


def test_open_world():
    assert open_world("emoji") == EmojiWorld()
    assert open_world("shapes") == ShapesWorld()
    world: World = open_world("moving-shapes")
    assert world.batch([0])[0].frames.shape == (16, 64, 64, 3)
    with pytest.raises(RequestError, match="'emojis'.*emoji, shapes"):
        open_world("emojis")


def test_a_source_is_the_rooms_own_world_another_or_a_folder(tmp_path, monkeypatch):
    own = EmojiWorld(split="train", size=16)
    assert source_at(None, own) is source_at("emoji", own) is own
    assert source_at("shapes", own) == ShapesWorld()
    Image.new("RGB", (4, 4), "red").save(tmp_path / "emoji.png")
    assert len(source_at(tmp_path, own)) == len(source_at(str(tmp_path), own)) == 1
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError, match="emoji does not exist"):
        source_at(Path("emoji"), own)  # a path is never a world's name


@pytest.mark.parametrize("made", [EmojiWorld, ShapesWorld])
@pytest.mark.parametrize(("field", "value"), [("split", "test"), ("size", 5000), ("length", 0)])
def test_settings_are_checked(made, field, value):
    with pytest.raises(RequestError, match=f"{field} is {value!r}"):
        made(**{field: value})
