"""The emoji world: single emoji with names, and scenes of several emoji with sentences and exact answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from bottega.worlds.dice import Dice
from bottega.worlds.emoji.atlas import SMALLEST, Emoji, load_atlas, sized_atlas
from bottega.worlds.emoji.nouns import noun, scene_nouns
from bottega.worlds.emoji.splits import family_weights, split
from bottega.worlds.english import article
from bottega.worlds.pixels import SOLID, WHITE, compose, resize, tight_box
from bottega.worlds.sample import Box, Color, Question, Sample, Thing
from bottega.worlds.scenes import OVERLAPPING, PAIRS, SEVERAL, SIZES, Group, Noun, is_novel, make_scene
from bottega.worlds.settings import check_length, check_share, check_size, check_split, within

KINDS = (PAIRS, SEVERAL, SIZES, OVERLAPPING)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmojiWorld:
    """An endless, deterministic source of emoji pictures with captions; a map-style data set.

    Args:
        split: "train", "heldout", or "all".
        size: Side of the pictures in pixels, 16 to 512.
        scenes: Share of samples that show several emoji, 0 to 1.
        seed: Any integer; another seed gives another order and other scenes.
        background: The colour under the emoji.
        augment: Whether single emoji are shifted and scaled a little (up to a sixteenth of the size).
        length: What `len` says; `sample` takes any index.
    """

    split: str = "train"
    size: int = 64
    scenes: float = 0.15
    seed: int = 0
    background: Color = WHITE
    augment: bool = False
    length: int = 1_000_000

    def __post_init__(self) -> None:
        check_split(self.split)
        check_size(self.size, SMALLEST)
        check_share("scenes", self.scenes)
        check_length(self.length)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        return self.sample(within(index, self.length))

    def sample(self, index: int) -> Sample:
        """The sample at any index from 0."""
        dice = Dice(self.seed, index)
        return scene(self, dice) if dice.unit() < self.scenes else single(self, dice)

    def batch(self, indices: Sequence[int]) -> list[Sample]:
        """The samples at these indices."""
        return [self.sample(index) for index in indices]


@lru_cache(maxsize=4)
def _lots(name: str) -> tuple[list[Emoji], np.ndarray]:
    """A split's tiles and the running sum of their weights."""
    emojis = split(name)
    return emojis, np.cumsum(family_weights(emojis))


@lru_cache(maxsize=4)
def _pictures(size: int, background: Color) -> np.ndarray:
    """All tiles over a background: uint8 `(tiles, size, size, 3)`, read-only."""
    pictures = compose(sized_atlas(size), background)
    pictures.setflags(write=False)
    return pictures


@lru_cache(maxsize=4)
def _masks(size: int) -> tuple[np.ndarray, tuple[Box, ...]]:
    """All tiles' masks, bool `(tiles, 1, size, size)`, read-only, and their boxes."""
    masks = sized_atlas(size)[:, None, ..., 3] >= SOLID
    masks.setflags(write=False)
    return masks, tuple(tight_box(mask[0]) for mask in masks)


def draw(name: str, dice: Dice) -> Emoji:
    """One tile of a split, by weight."""
    emojis, sums = _lots(name)
    return emojis[min(int(np.searchsorted(sums, dice.unit(), side="right")), len(emojis) - 1)]


def caption(emoji: Emoji, dice: Dice) -> str:
    """What one would type to get this emoji: mostly its name, sometimes in a template, sometimes a few keywords."""
    kind = dice.unit()
    if kind < 0.6:
        return emoji.phrase
    if kind < 0.7 and len(emoji.keywords) > 1:
        words = dice.choose(emoji.keywords, min(len(emoji.keywords), 2 + dice.below(2)))
        return ", ".join((emoji.phrase, *words)) if dice.below(2) else ", ".join(words)
    template = dice.pick(("emoji of {}", "{} emoji", "a picture of {}", "an emoji: {}", "{}"))
    return template.format(emoji.phrase if dice.below(2) else with_article(emoji))


def with_article(emoji: Emoji) -> str:
    """The name with an article where it is a countable noun: "a red apple", "a woman astronaut with dark skin tone"."""
    spoken = noun(emoji)
    return emoji.phrase if spoken is None else article(spoken.phrase)


def single(world: EmojiWorld, dice: Dice) -> Sample:
    """A sample with one emoji that fills the picture."""
    emoji = draw(world.split, dice)
    text = caption(emoji, dice)
    if world.augment:
        picture, masks, box = _moved(world, emoji, dice)
    else:
        picture = _pictures(world.size, world.background)[emoji.id]
        masks, boxes = _masks(world.size)
        masks, box = masks[emoji.id], boxes[emoji.id]
    thing = Thing(name=emoji.phrase, id=emoji.id, box=box, depth=0)
    questions = (Question(text="what is this?", answer=emoji.phrase),)
    return Sample(picture=picture, caption=text, things=(thing,), masks=masks, questions=questions)


def _moved(world: EmojiWorld, emoji: Emoji, dice: Dice) -> tuple[np.ndarray, np.ndarray, Box]:
    """The emoji at 7/8 to 1 of the size, wholly inside the picture: picture, mask and box."""
    side = world.size * dice.between(0.875, 1.0)
    left, top = dice.between(0, world.size - side), dice.between(0, world.size - side)
    zoom = world.size / side
    tile = Image.fromarray(sized_atlas(world.size)[emoji.id]).convert("RGBa")
    matrix = (zoom, 0, -left * zoom, 0, zoom, -top * zoom)
    moved = tile.transform(tile.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC).convert("RGBA")
    pixels = np.asarray(moved)
    mask = pixels[..., 3] >= SOLID
    return compose(pixels, world.background), mask[None], tight_box(mask)


def scene(world: EmojiWorld, dice: Dice) -> Sample:
    """A sample with two to four emoji and a sentence about them."""
    canvas = np.full((world.size, world.size, 3), world.background, dtype=np.uint8)

    def admit(groups: Sequence[Group]) -> bool:
        return world.split == "all" or is_novel(groups) == (world.split == "heldout")

    return make_scene(dice, KINDS, scene_nouns(), brush, canvas, admit)


def brush(noun: Noun, side: int) -> np.ndarray:
    """Paints a noun as a tile of the atlas at another size."""
    return resize(load_atlas()[noun.id], side)
