"""Contexts: labels that mean the same in every picture, splits without overlap, films, and folders of masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bottega.errors import FileError, RequestError
from bottega.worlds.contexts import SAME_THINGS, ContextKind, ContextsWorld, MaskFolder
from bottega.worlds.contexts.emoji_scenes import Sprite, context_emoji, paint_emoji
from bottega.worlds.contexts.world import LEAST
from bottega.worlds.dice import Dice
from bottega.worlds.emoji.atlas import load_index
from bottega.worlds.shapes.grounds import View, draw_ground


@pytest.mark.parametrize("kind", list(ContextKind))
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_every_label_is_seen_in_every_picture(kind: ContextKind, split: str) -> None:
    world = ContextsWorld(split=split, kinds=(kind,), size=48, pictures=3)
    for made in world.batch(range(6)):
        assert made.pictures.shape == (3, 48, 48, 3)
        assert made.labels.shape == (3, 48, 48)
        assert made.labels.max() == len(made.names)
        assert made.seen(LEAST).all()
        assert made.same == (kind in SAME_THINGS)
    assert not np.array_equal(made.pictures[0], made.pictures[1])


def test_an_index_gives_the_same_bits_always() -> None:
    world = ContextsWorld(seed=3)
    first, again = world.sample(41), ContextsWorld(seed=3)[41]
    assert np.array_equal(first.pictures, again.pictures)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.pictures, ContextsWorld(seed=4).sample(41).pictures)


def test_what_is_held_out_is_not_trained_on() -> None:
    hidden, shown = set(context_emoji("heldout")), set(context_emoji("train"))
    assert not hidden & shown
    assert hidden | shown == set(context_emoji("all"))
    assert 0.05 < len(hidden) / len(shown) < 0.2
    names = {load_index()[tile].phrase for tile in hidden}
    world = ContextsWorld(split="heldout", kinds=(ContextKind.EMOJI,))
    assert all(set(made.names) <= names for made in world.batch(range(10)))


def test_labels_lie_on_the_things_whatever_the_view() -> None:
    tile = context_emoji("all")[0]
    sprites = [Sprite(id=tile, x=0.3, y=0.4, side=0.4), Sprite(id=tile, x=0.75, y=0.7, side=0.3, angle=40)]
    ground = draw_ground(Dice(0, 0))
    _, whole = paint_emoji(sprites, ground, View(), 120)
    _, near = paint_emoji(sprites, ground, View(left=0.1, top=0.2, zoom=2), 120)
    _, turned = paint_emoji(sprites, ground, View(flip=True), 120)
    for number, sprite in enumerate(sprites, 1):
        rows, columns = np.nonzero(whole == number)
        assert abs(columns.mean() / 120 - sprite.x) < 0.02
        assert abs(rows.mean() / 120 - sprite.y) < 0.03
    assert 3.5 < (near == 1).sum() / (whole == 1).sum() < 4.5
    assert (turned[:, ::-1] == whole).mean() > 0.985


@pytest.mark.parametrize("kind", [ContextKind.EMOJI_VIEWS, ContextKind.FIGURE_VIEWS])
def test_films_move_little_by_little(kind: ContextKind) -> None:
    film = ContextsWorld(split="heldout", size=48).film(0, 10, kind)
    assert len(film.pictures) == 10
    assert film.same
    steps = [(film.labels[i] != film.labels[i + 1]).mean() for i in range(9)]
    assert 0 < max(steps) < 0.4
    assert (film.labels[0] != film.labels[9]).mean() > np.mean(steps)


def test_wrong_settings_are_told() -> None:
    with pytest.raises(RequestError, match="pictures"):
        ContextsWorld(pictures=1)
    with pytest.raises(RequestError, match="kinds"):
        ContextsWorld(kinds=(ContextKind.EMOJI,), weights=(1.0, 2.0))


def keep(path: Path, color: tuple[int, int, int], where: slice, size: tuple[int, int] = (40, 60)) -> None:
    picture = np.random.default_rng(len(path.name)).integers(0, 256, (*size, 3), dtype=np.uint8)
    mask = np.zeros_like(picture)
    mask[where] = color
    Image.fromarray(picture).save(path.with_suffix(".png"))
    Image.fromarray(mask).save(path.with_name(f"{path.stem}_mask.png"))


def test_a_folder_of_masks(tmp_path: Path) -> None:
    keep(tmp_path / "a.png", (255, 0, 0), slice(0, 30))
    keep(tmp_path / "b.png", (255, 0, 0), slice(10, 40))
    keep(tmp_path / "c.png", (0, 255, 0), slice(10, 40))
    folder = MaskFolder.open(tmp_path)
    assert [(color, len(found)) for color, found in folder.colors] == [((0, 255, 0), 1), ((255, 0, 0), 2)]
    made = [folder.sample(index) for index in range(12)]
    assert {one.names for one in made} == {("#ff0000",), ("#00ff00",)}
    assert all(one.same == (one.names == ("#00ff00",)) for one in made)
    assert all(one.pictures.shape == (2, 64, 64, 3) and one.seen(LEAST).all() for one in made)


def test_folders_that_hold_nothing_say_so(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cat_mask"):
        MaskFolder.open(tmp_path)
    keep(tmp_path / "a.png", (0, 0, 0), slice(0, 30))
    with pytest.raises(FileError, match="black"):
        MaskFolder.open(tmp_path)
    Image.new("RGB", (3, 4)).save(tmp_path / "a_mask.png")
    with pytest.raises(FileError, match="as large as"):
        MaskFolder.open(tmp_path)
