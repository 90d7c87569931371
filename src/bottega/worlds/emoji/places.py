"""The emoji world as one meets it: emoji of any size anywhere on coloured grounds, and scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bottega.worlds.dice import Dice
from bottega.worlds.emoji.atlas import SMALLEST, Emoji, load_atlas
from bottega.worlds.emoji.world import EmojiWorld, caption, draw, scene
from bottega.worlds.pixels import SOLID, compose, resize, tight_box
from bottega.worlds.sample import Question, Sample, Thing
from bottega.worlds.settings import check_length, check_share, check_size, check_split, within


@dataclass(frozen=True, slots=True, kw_only=True)
class EmojiPlacesWorld:
    """Single emoji in places, with their names: what a reader of pictures and words learns from.

    The ground is white, one colour, a gradient, stripes, or blurred noise; the emoji covers from `smallest` of the side
    to all of it, anywhere in the picture. A share of the samples are scenes of several emoji with a sentence.

    Args:
        split: "train", "heldout", or "all".
        size: Side of the pictures in pixels, 16 to 512.
        scenes: Share of samples that show several emoji, 0 to 1.
        seed: Any integer; another seed gives another order, other grounds and other scenes.
        smallest: Least side of an emoji as a share of the picture's, above 0 to 1.
        length: What `len` says; `sample` takes any index.
    """

    split: str = "train"
    size: int = 64
    scenes: float = 0.15
    seed: int = 0
    smallest: float = 0.4
    length: int = 1_000_000

    def __post_init__(self) -> None:
        check_split(self.split)
        check_size(self.size, SMALLEST)
        check_share("scenes", self.scenes)
        check_share("smallest", self.smallest)
        check_length(self.length)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        return self.sample(within(index, self.length))

    def sample(self, index: int) -> Sample:
        """The sample at any index from 0."""
        dice = Dice(self.seed, index)
        if dice.unit() < self.scenes:
            return scene(EmojiWorld(split=self.split, size=self.size, background=_light(dice)), dice)
        emoji = draw(self.split, dice)
        return place(emoji, caption(emoji, dice), self.size, self.smallest, dice)

    def batch(self, indices: Sequence[int]) -> list[Sample]:
        """The samples at these indices."""
        return [self.sample(index) for index in indices]


def place(emoji: Emoji, words: str, size: int, smallest: float, dice: Dice) -> Sample:
    """One emoji somewhere on a ground.

    Args:
        emoji: The emoji.
        words: The sample's caption.
        size: Side of the picture in pixels.
        smallest: Least side of the emoji as a share of the picture's.
        dice: Draws ground, size and place.
    """
    side = max(8, round(size * dice.between(smallest, 1.0)))
    left, top = dice.below(size - side + 1), dice.below(size - side + 1)
    picture, tile = ground(size, dice), resize(load_atlas()[emoji.id], side)
    window = (slice(top, top + side), slice(left, left + side))
    picture[window] = compose(tile, picture[window])
    mask = np.zeros((size, size), dtype=bool)
    mask[window] = tile[..., 3] >= SOLID
    thing = Thing(name=emoji.phrase, id=emoji.id, box=tight_box(mask), depth=0)
    questions = (Question(text="what is this?", answer=emoji.phrase),)
    return Sample(picture=picture, caption=words, things=(thing,), masks=mask[None], questions=questions)


def ground(size: int, dice: Dice) -> np.ndarray:
    """A ground to put things on, uint8 `(size, size, 3)`: white, a colour, a gradient, stripes, or blurred noise."""
    kind = dice.unit()
    if kind < 0.3:
        return np.full((size, size, 3), 255, dtype=np.uint8)
    first, second = np.array(_color(dice)), np.array(_color(dice))
    if kind < 0.55:
        return np.full((size, size, 3), first, dtype=np.uint8)
    if kind < 0.9:
        rows, columns = np.mgrid[:size, :size] / size
        angle = dice.between(0.0, 2 * np.pi)
        wave = rows * np.sin(angle) + columns * np.cos(angle)
        if kind < 0.8:
            share = (wave - wave.min()) / (wave.max() - wave.min())
        else:
            share = np.sin(wave * dice.between(6.0, 40.0)) > 0
        return (first + share[..., None] * (second - first)).astype(np.uint8)
    coarse = np.array([dice.below(256) for _ in range(4 * 4 * 3)], dtype=np.uint8).reshape(4, 4, 3)
    smooth = resize(np.concatenate((coarse, np.full((4, 4, 1), 255, dtype=np.uint8)), axis=2), size)
    return smooth[..., :3].copy()


def _color(dice: Dice) -> tuple[int, int, int]:
    return dice.below(256), dice.below(256), dice.below(256)


def _light(dice: Dice) -> tuple[int, int, int]:
    """White half of the time, else a pale colour."""
    if dice.below(2):
        return 255, 255, 255
    return 160 + dice.below(96), 160 + dice.below(96), 160 + dice.below(96)
