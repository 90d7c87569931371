from collections import Counter
from importlib import resources

import numpy as np
import pytest

from bottega.errors import RequestError
from bottega.worlds.emoji import (
    compose,
    family_weights,
    held_out_ids,
    languages,
    load_atlas,
    load_index,
    names,
    reference_pictures,
    split,
)
from bottega.worlds.emoji.atlas import say, sized_atlas

TONES = {"light", "medium-light", "medium", "medium-dark", "dark"}


@pytest.fixture(scope="module")
def by_name():
    return {emoji.name: emoji for emoji in load_index()}


def test_atlas_is_decoded_once_as_it_should_be():
    atlas = load_atlas()
    assert atlas.shape == (len(load_index()), 64, 64, 4)
    assert atlas.dtype == np.uint8
    assert len(atlas) > 3700
    assert load_atlas() is atlas
    with pytest.raises(ValueError, match="read-only"):
        atlas[0] = 0


def test_every_tile_shows_something_and_leaves_something_free():
    solid = (load_atlas()[..., 3] >= 128).mean(axis=(1, 2))
    assert solid.min() > 0.01
    assert solid.max() < 0.99


def test_tiles_stand_where_the_index_says(by_name):
    def color(name):
        tile = load_atlas()[by_name[name].id]
        return tile[tile[..., 3] == 255][:, :3].mean(axis=0)

    red, green, blue = color("red heart"), color("green heart"), color("blue heart")
    assert red.argmax() == 0
    assert green.argmax() == 1
    assert blue.argmax() == 2
    flag = load_atlas()[by_name["flag: france"].id].astype(int)
    assert flag[32, 12, 2] > 100 > flag[32, 12, 0]  # blue at the pole
    assert flag[32, 52, 0] > 150 > flag[32, 52, 2]  # red at the fly


def test_no_tile_is_there_twice():
    tiles = load_atlas()
    assert len({tile.tobytes() for tile in tiles}) == len(tiles)
    assert len({emoji.characters for emoji in load_index()}) == len(tiles)
    assert len({emoji.name for emoji in load_index()}) == len(tiles)


def test_records(by_name):
    astronaut = by_name["woman astronaut: medium skin tone"]
    assert astronaut.characters == "\U0001f469\U0001f3fd\u200d\U0001f680"
    assert (astronaut.base, astronaut.role, astronaut.gender) == ("woman astronaut", "astronaut", "woman")
    assert astronaut.skin_tones == ("medium",)
    assert astronaut.phrase == "woman astronaut, medium skin tone"
    kiss = by_name["kiss: man, man, light skin tone, dark skin tone"]
    assert (kiss.base, kiss.gender, kiss.skin_tones) == ("kiss: man, man", "man", ("light", "dark"))
    curly = by_name["woman: dark skin tone, curly hair"]
    assert (curly.base, curly.hair, curly.skin_tones) == ("woman: curly hair", "curly", ("dark",))
    couple = by_name["couple with heart: woman, man"]
    assert couple.gender == "mixed"
    apple = by_name["red apple"]
    assert (apple.group, apple.subgroup, apple.gender, apple.role) == ("Food & Drink", "food-fruit", "", "")
    assert "fruit" in apple.keywords
    assert "flag: svalbard & jan mayen" in by_name["flag: norway"].aliases


def test_attributes_follow_from_the_characters():
    signs = dict(zip("🏻🏼🏽🏾🏿", ("light", "medium-light", "medium", "medium-dark", "dark"), strict=True))
    for emoji in load_index():
        assert emoji.skin_tones == tuple(signs[c] for c in emoji.characters if c in signs)
        assert set(emoji.skin_tones) <= TONES
        assert "skin tone" not in emoji.base
        assert emoji.name == emoji.name.lower()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("flag: south georgia & south sandwich islands", "flag of south georgia and south sandwich islands"),
        ("keycap: 1", "keycap 1"),
        ("woman’s hat", "woman's hat"),
        ("man: red hair", "man, red hair"),
        ("japanese “discount” button", "japanese discount button"),
    ],
)
def test_names_as_said(name, said):
    assert say(name) == said


def test_compose_is_rounded_blending():
    rng = np.random.default_rng(0)
    tile = rng.integers(0, 256, (5, 7, 9, 4), dtype=np.uint8)
    under = rng.integers(0, 256, (5, 7, 9, 3), dtype=np.uint8)
    opacity = tile[..., 3:] / 255.0
    expected = tile[..., :3] * opacity + under * (1.0 - opacity)
    assert np.abs(compose(tile, under) - expected).max() <= 0.5 + 1e-9
    assert (compose(tile[..., :] * np.array([1, 1, 1, 0], dtype=np.uint8), (3, 4, 5)) == (3, 4, 5)).all()


def test_other_sizes():
    small = sized_atlas(32)
    assert small.shape[1:] == (32, 32, 4)
    areas = (small[..., 3] / 255.0).sum(axis=(1, 2)) * 4
    full = (load_atlas()[..., 3] / 255.0).sum(axis=(1, 2))
    assert np.abs(areas / full - 1).max() < 0.1
    with pytest.raises(RequestError, match="size is 4"):
        sized_atlas(4)


def test_names_in_other_languages(by_name):
    assert len(languages()) == 14
    apple = by_name["red apple"].id
    assert names("en")[apple] == "red apple"
    assert names("de")[apple] == "roter apfel"
    assert names("fr")[apple] == "pomme rouge"
    assert names("ja")[apple] == "赤リンゴ"
    for language in languages():
        given = names(language)
        assert len(given) == len(load_index())
        assert sum(map(bool, given)) > 0.95 * len(given)
    with pytest.raises(RequestError, match="language is 'tlh'"):
        names("tlh")


def test_licence_lies_beside_the_data():
    text = resources.files("bottega.worlds.emoji").joinpath("data", "LICENSE.txt").read_text(encoding="utf-8")
    for part in ("SIL OPEN FONT LICENSE Version 1.1", "Apache License", "Unicode"):
        assert part in text


def test_splits_are_disjoint_and_complete():
    train, heldout, everything = ({emoji.id for emoji in split(name)} for name in ("train", "heldout", "all"))
    assert not train & heldout
    assert train | heldout == everything == set(range(len(load_index())))
    assert heldout == held_out_ids()
    with pytest.raises(RequestError, match="'test'"):
        split("test")


def test_only_tones_are_held_out_about_a_tenth_of_them():
    toned = [emoji for emoji in load_index() if emoji.skin_tones]
    heldout = split("heldout")
    assert all(emoji.skin_tones for emoji in heldout)
    assert 0.08 < len(heldout) / len(toned) < 0.12
    pairs = [emoji for emoji in heldout if len(emoji.skin_tones) == 2]
    assert 0.06 < len(pairs) / sum(len(emoji.skin_tones) == 2 for emoji in toned) < 0.14


@pytest.mark.parametrize("attribute", ["base", "role", "gender", "hair", "group", "subgroup"])
def test_every_attribute_value_is_seen_in_training(attribute):
    seen = {getattr(emoji, attribute) for emoji in split("train")}
    assert seen == {getattr(emoji, attribute) for emoji in load_index()}


def test_every_tone_is_seen_with_every_gender_and_place_in_training():
    seen = {(emoji.gender, place, tone) for emoji in split("train") for place, tone in enumerate(emoji.skin_tones)}
    needed = {(emoji.gender, place, tone) for emoji in load_index() for place, tone in enumerate(emoji.skin_tones)}
    assert seen == needed
    for tone in TONES:
        assert sum(emoji.skin_tones == (tone,) for emoji in split("heldout")) > 10


def test_weights_of_families():
    emojis = split("train")
    weights = family_weights(emojis)
    assert weights.sum() == pytest.approx(1.0)
    sizes = Counter(emoji.base for emoji in emojis)
    mass = Counter()
    for emoji, weight in zip(emojis, weights, strict=True):
        mass[emoji.base] += weight
    assert mass["woman astronaut"] / mass["red apple"] == pytest.approx(sizes["woman astronaut"] ** 0.5)


def test_reference_pictures():
    pictures, said = reference_pictures("heldout", background=(10, 20, 30))
    emojis = split("heldout")
    assert said == [emoji.phrase for emoji in emojis]
    np.testing.assert_array_equal(pictures[7], compose(load_atlas()[emojis[7].id], (10, 20, 30)))
    assert reference_pictures("heldout", size=32)[0].shape[1:] == (32, 32, 3)
