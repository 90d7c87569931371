"""The weights that come with the package do what their card says, in every mode, and better than a shuffled control."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bottega
from bottega.metrics import keyword_overlap
from bottega.results import PicturesResult, read_origin
from bottega.room import Result, silent
from bottega.systems.diffusion.unidiffuser.evaluation import NearestTiles, coarse, evaluate
from bottega.systems.diffusion.unidiffuser.inference import Mode, UniDiffuserRequest
from bottega.weights import WeightsCard, bundled_path, card_path, read_card
from bottega.worlds.emoji import Emoji, reference_pictures, split

ROOM = Path(__file__).parents[1]
LIMIT = 24


@cache
def ready() -> bottega.Ready:
    return bottega.load("unidiffuser")


@cache
def tiles() -> NearestTiles:
    return NearestTiles()


@cache
def card() -> WeightsCard:
    return read_card(card_path(bundled_path(ROOM, "tiny")))


def some(count: int, *, seed: int = 0) -> list[Emoji]:
    """Emoji of the training split without skin tones."""
    objects = [emoji for emoji in split("train") if not emoji.skin_tones]
    order = np.random.default_rng(seed).permutation(len(objects))[:count]
    return [objects[i] for i in order]


def run(mode: Mode, inputs: Sequence[str] = (), count: int = 1) -> Result:
    return ready()(UniDiffuserRequest(mode=mode, inputs=tuple(inputs), count=count, steps=15, seed=3), silent)


def files(emojis: Sequence[Emoji], folder: Path) -> list[str]:
    """The emoji's pictures as files."""
    pictures = tiles().pictures
    names = []
    for emoji in emojis:
        names.append(str(folder / f"{emoji.id}.png"))
        Image.fromarray(pictures[emoji.id]).save(names[-1])
    return names


def distances(pictures: np.ndarray, emojis: Sequence[Emoji]) -> tuple[float, float]:
    """Mean distance to the tiles asked for, and to those of a neighbour in the list."""
    wanted = coarse(tiles().pictures[[emoji.id for emoji in emojis]])
    made = coarse(pictures)
    return float((made - wanted).norm(dim=1).mean()), float((made - wanted.roll(1, 0)).norm(dim=1).mean())


def overlaps(texts: Sequence[str], phrases: Sequence[str]) -> tuple[float, float]:
    """Mean share of common words with the phrases, and with those of a neighbour in the list."""
    shifted = [*phrases[1:], phrases[0]]
    right = sum(map(keyword_overlap, texts, phrases)) / len(texts)
    return right, sum(map(keyword_overlap, texts, shifted)) / len(texts)


def test_the_card_is_whole() -> None:
    assert "bottega train unidiffuser" in card().command
    assert bundled_path(ROOM, "tiny").stat().st_size < 12e6


def test_the_recorded_figures_hold() -> None:
    """A small evaluation lies within three standard errors below the recorded figures, and above its control."""
    measures = evaluate(ready().model, 1, LIMIT, silent)
    recorded = card().metrics
    assert set(measures) <= set(recorded)
    for name, measure in measures.items():
        if measure.unit == "%":
            share = recorded[name] / 100
            slack = 300 * sqrt(max(share * (1 - share), 0.02) * (1 / LIMIT + 1 / 128))
        else:
            slack = 0.15 * recorded[name]
        assert measure.value >= recorded[name] - slack, name
        if measure.control is not None and recorded[name] - recorded[f"{name}: control"] > slack:
            assert measure.value > measure.control, name


def test_text_to_image_draws_what_is_asked() -> None:
    emojis = some(16)
    made = run(Mode.TEXT_TO_IMAGE, [emoji.phrase for emoji in emojis])
    right, wrong = distances(made.arrays()["pictures"], emojis)
    assert right < 0.9 * wrong


def test_image_to_text_names_what_it_sees(tmp_path: Path) -> None:
    emojis = some(16)
    made = run(Mode.IMAGE_TO_TEXT, files(emojis, tmp_path))
    right, wrong = overlaps(made.items(), [emoji.phrase for emoji in emojis])
    assert right > 2 * wrong


def test_joint_halves_agree() -> None:
    """The words, drawn again as a picture, come nearer to their own picture than to a neighbour's."""
    made = run(Mode.JOINT, count=12).arrays()
    again = run(Mode.TEXT_TO_IMAGE, [str(text) or "emoji" for text in made["captions"]]).arrays()["pictures"]
    own = (coarse(made["pictures"]) - coarse(again)).norm(dim=1).mean()
    other = (coarse(made["pictures"]) - coarse(again).roll(1, 0)).norm(dim=1).mean()
    assert own < other


def test_image_alone_lies_near_the_world() -> None:
    """Nearer to the nearest tile than the same pictures with their cells shuffled."""
    made = coarse(run(Mode.IMAGE, count=12).arrays()["pictures"])
    order = torch.from_numpy(np.random.default_rng(0).permutation(256))
    shuffled = made.unflatten(1, (256, 3))[:, order].flatten(1)
    nearest = [float(torch.cdist(each, tiles().gallery).min(dim=1).values.mean()) for each in (made, shuffled)]
    assert nearest[0] < 0.9 * nearest[1]


def test_text_alone_is_made_of_the_worlds_words() -> None:
    known = {word for phrase in reference_pictures("all")[1] for word in phrase.replace(",", " ").split()}
    known |= {
        "a",
        "an",
        "of",
        "emoji",
        "picture",
        "left",
        "right",
        "above",
        "below",
        "two",
        "three",
        "and",
        "big",
        "small",
    }
    words = [word for text in run(Mode.TEXT, count=12).items() for word in text.replace(",", " ").split()]
    assert len(words) >= 12
    assert sum(word in known for word in words) / len(words) > 0.7


def test_image_variation_stays_near_its_picture(tmp_path: Path) -> None:
    emojis = some(12, seed=1)
    right, wrong = distances(run(Mode.IMAGE_VARIATION, files(emojis, tmp_path)).arrays()["pictures"], emojis)
    assert right < wrong


def test_text_variation_stays_near_its_words() -> None:
    phrases = [emoji.phrase for emoji in some(12, seed=2)]
    right, wrong = overlaps(run(Mode.TEXT_VARIATION, phrases).items(), phrases)
    assert right > wrong


def test_a_picture_repeats_to_the_bit() -> None:
    first, again = (run(Mode.TEXT_TO_IMAGE, ["red apple"]).arrays()["pictures"] for _ in range(2))
    assert np.array_equal(first, again)


@pytest.mark.parametrize("packed", [False, True])
def test_a_replay_runs_on_the_kernels_of_the_recipe(packed: bool, tmp_path: Path) -> None:
    chosen = bottega.load("unidiffuser").with_linears(packed=packed)
    (file,) = chosen(UniDiffuserRequest(inputs=("red apple",), steps=3)).save(tmp_path / "apple.png")
    replayed = bottega.replay(file)
    assert replayed.difference is None
    assert read_origin(file).packed is packed
    assert isinstance(replayed.result, PicturesResult)
    assert replayed.result.origin is not None
    assert replayed.result.origin.packed is packed


def test_an_unloadable_picture_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    with pytest.raises(bottega.BottegaError, match=r"bad\.png"):
        run(Mode.IMAGE_TO_TEXT, [str(bad)])
