import pytest

from bottega.worlds.dice import Dice, mix, mix_text
from bottega.worlds.english import article, counted, definite, listed, looks_plural, plural


def test_mix_is_splitmix64():
    # The first outputs of SplitMix64 from state 1234567, as published with the generator's reference code.
    golden, wrap = 0x9E3779B97F4A7C15, 2**64
    states = [(1234567 + step * golden) % wrap for step in (1, 2, 3)]
    assert [mix(state) for state in states] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_dice_streams_differ_by_seed_and_index_and_repeat():
    streams = {(seed, index): [Dice(seed, index).bits() for _ in range(3)] for seed in range(20) for index in range(20)}
    assert len({tuple(bits) for bits in streams.values()}) == 400
    again = Dice(3, 5)
    assert [again.bits()] * 3 == streams[3, 5]


def test_dice_is_uniform():
    dice = Dice(0, 0)
    counts = [0] * 7
    for _ in range(7000):
        counts[dice.below(7)] += 1
    assert min(counts) > 850
    assert max(counts) < 1150
    units = [dice.unit() for _ in range(4000)]
    assert 0 <= min(units) < 0.01
    assert 0.99 < max(units) < 1
    assert abs(sum(units) / 4000 - 0.5) < 0.02


def test_dice_weighted_and_choose():
    dice = Dice(1, 1)
    drawn = [dice.weighted("abc", [1.0, 0.0, 3.0]) for _ in range(4000)]
    assert drawn.count("b") == 0
    assert abs(drawn.count("c") / 4000 - 0.75) < 0.03
    assert sorted(dice.choose(range(6), 6)) == list(range(6))


def test_text_hash_is_the_same_in_every_process():
    assert mix_text("woman astronaut") == mix_text("woman astronaut") != mix_text("man astronaut")
    assert mix_text("") == 0
    assert mix_text("a") == mix(ord("a") + 0x9E3779B97F4A7C15)


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("red apple", "red apples"),
        ("cherry", "cherries"),
        ("toothbrush", "toothbrushes"),
        ("fox", "foxes"),
        ("bus", "buses"),
        ("monkey", "monkeys"),
        ("computer mouse", "computer mice"),
        ("kitchen knife", "kitchen knives"),
        ("face with open mouth", "faces with open mouth"),
        ("sheaf of rice", "sheaves of rice"),
        ("pile of poo", "piles of poo"),
        ("cat with tears of joy", "cats with tears of joy"),
        ("snowman without snow", "snowmen without snow"),
        ("game die", "game dice"),
        ("deer", "deer"),
        ("tomato", "tomatoes"),
        ("radio", "radios"),
        ("x-ray", "x-rays"),
    ],
)
def test_plural(one, many):
    assert plural(one) == many


@pytest.mark.parametrize(
    ("phrase", "said"),
    [
        ("apple", "an apple"),
        ("unicorn", "a unicorn"),
        ("umbrella", "an umbrella"),
        ("one-piece swimsuit", "a one-piece swimsuit"),
        ("euro banknote", "a euro banknote"),
        ("ewe", "a ewe"),
        ("x-ray", "an x-ray"),
        ("hourglass", "an hourglass"),
        ("house", "a house"),
        ("ear of corn", "an ear of corn"),
    ],
)
def test_article(phrase, said):
    assert article(phrase) == said


def test_counting_phrases():
    assert counted(1, "orange heart") == "an orange heart"
    assert counted(3, "orange heart") == "three orange hearts"
    assert definite(1, "cat") == "the cat"
    assert definite(2, "cat") == "the two cats"
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"


@pytest.mark.parametrize("phrase", ["grapes", "french fries", "glasses", "musical notes", "beans"])
def test_plurals_are_seen(phrase):
    assert looks_plural(phrase)


@pytest.mark.parametrize("phrase", ["bus", "glass of milk", "cactus", "rhinoceros", "red apple", "face with big eyes"])
def test_singulars_are_seen(phrase):
    assert not looks_plural(phrase)
