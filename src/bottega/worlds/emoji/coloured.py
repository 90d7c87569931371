"""Coloured emoji: hearts, circles and squares of eight colours, one or two in a picture: which colour is whose?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bottega.worlds.dice import Dice
from bottega.worlds.emoji.atlas import SMALLEST, load_index
from bottega.worlds.emoji.world import brush
from bottega.worlds.english import listed
from bottega.worlds.pixels import WHITE
from bottega.worlds.sample import Color, Sample
from bottega.worlds.scenes import Group, Kind, Noun, Scene, beside, cut, fill, is_novel, make_scene, several
from bottega.worlds.settings import check_length, check_size, check_split

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "black")
SHAPES = ("heart", "circle", "square")


def anywhere(dice: Dice, size: int, groups: tuple[Group, ...]) -> Scene:
    """Two things side by side or one above the other; the words do not tell which: "a red heart and a blue circle"."""
    across, in_order = dice.below(2) == 0, dice.below(2) == 0
    regions = cut(dice, size, across, 0.5)[:: 1 if in_order else -1]
    placed = tuple(tile for number in (0, 1) for tile in fill(dice, regions[number], [number]))
    return Scene(groups=groups, placed=placed, caption=listed([group.some for group in groups]), questions=())


KINDS = (
    Kind(layout=several, counts=((1,),), weight=0.2),
    Kind(layout=beside, counts=((1, 1),), weight=0.4),
    Kind(layout=anywhere, counts=((1, 1),), weight=0.4),
)


@lru_cache(maxsize=1)
def coloured_nouns() -> tuple[Noun, ...]:
    """The 24 things, by colour and then by shape."""
    ids = {emoji.name: emoji.id for emoji in load_index()}
    ids["black square"] = ids["black large square"]
    phrases = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    return tuple(Noun(id=ids[phrase], phrase=phrase, identity=phrase) for phrase in phrases)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColouredEmojiWorld:
    """An endless, deterministic source of pictures of one or two coloured emoji with captions.

    Args:
        split: "train", "heldout" (pairs that "train" never shows together), or "all".
        size: Side of the pictures in pixels, 16 to 512.
        seed: Any integer; another seed gives other pictures.
        background: The colour under the emoji.
        length: What `len` says; `sample` takes any index.
    """

    split: str = "train"
    size: int = 32
    seed: int = 0
    background: Color = WHITE
    length: int = 1_000_000

    def __post_init__(self) -> None:
        check_split(self.split)
        check_size(self.size, SMALLEST)
        check_length(self.length)

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int) -> Sample:
        """The sample at any index from 0."""
        canvas = np.full((self.size, self.size, 3), self.background, dtype=np.uint8)

        def admit(groups: Sequence[Group]) -> bool:
            return self.split == "all" or is_novel(groups) == (self.split == "heldout")

        return make_scene(Dice(self.seed, index), KINDS, coloured_nouns(), brush, canvas, admit)

    def batch(self, indices: Sequence[int]) -> list[Sample]:
        """The samples at these indices."""
        return [self.sample(index) for index in indices]
