"""The world of shapes: a few coloured shapes, a sentence about them, exact masks, depth and answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from bottega.worlds.dice import Dice
from bottega.worlds.english import NUMBERS, plural
from bottega.worlds.pixels import WHITE
from bottega.worlds.sample import Color, Question, Sample
from bottega.worlds.scenes import CORNER, OVERLAPPING, PAIRS, SEVERAL, SIZES, Group, Kind, Noun, make_scene, several
from bottega.worlds.settings import check_length, check_size, check_split, within
from bottega.worlds.shapes.drawing import COLORS, SHAPES, tile

SMALLEST = 24  # px, side of the smallest pictures in which shapes can be told apart
ONE = Kind(layout=several, counts=((1,),), weight=0.2)
KINDS = (ONE, CORNER, PAIRS, SEVERAL, SIZES, OVERLAPPING)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShapesWorld:
    """An endless, deterministic source of pictures of coloured shapes with captions; a map-style data set.

    Args:
        split: "train", "heldout" (every picture has a held-out pair of colour and shape), or "all".
        size: Side of the pictures in pixels, 24 to 512.
        seed: Any integer.
        background: The colour under the shapes.
        length: What `len` says; `sample` takes any index.
    """

    split: str = "train"
    size: int = 64
    seed: int = 0
    background: Color = WHITE
    length: int = 1_000_000

    def __post_init__(self) -> None:
        check_split(self.split)
        check_size(self.size, SMALLEST)
        check_length(self.length)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        return self.sample(within(index, self.length))

    def sample(self, index: int) -> Sample:
        """The sample at any index from 0."""
        canvas = np.full((self.size, self.size, 3), self.background, dtype=np.uint8)

        def admit(groups: Sequence[Group]) -> bool:
            return belongs(self.split, [group.noun for group in groups])

        made = make_scene(Dice(self.seed, index), KINDS, nouns(), brush, canvas, admit)
        return replace(made, questions=(*made.questions, *attribute_questions(made)))

    def batch(self, indices: Sequence[int]) -> list[Sample]:
        """The samples at these indices."""
        return [self.sample(index) for index in indices]


@lru_cache(maxsize=1)
def nouns() -> tuple[Noun, ...]:
    """Every colour with every shape; the id is `shape * number of colours + color`."""
    phrases = [f"{color} {shape}" for shape in SHAPES for color in COLORS]
    return tuple(Noun(id=number, phrase=phrase, identity=phrase) for number, phrase in enumerate(phrases))


def is_held_out(noun: Noun) -> bool:
    """Whether a colour and shape are kept from training together: one colour of each shape, all of both are seen."""
    shape, color = divmod(noun.id, len(COLORS))
    return (3 * shape + color) % len(COLORS) == 0


def belongs(split: str, shown: Sequence[Noun]) -> bool:
    """Whether a picture of these belongs to a split."""
    return split == "all" or any(map(is_held_out, shown)) == (split == "heldout")


def brush(noun: Noun, side: int) -> np.ndarray:
    """Paints a coloured shape as a tile."""
    color, shape = noun.phrase.split()
    return tile(shape, color, side)


def attribute_questions(sample: Sample) -> list[Question]:
    """Questions about colours and shapes: how many of each, and the other attribute of what is the only one."""
    pairs = [thing.name.split() for thing in sample.things]
    colors, shapes = Counter(color for color, _ in pairs), Counter(shape for _, shape in pairs)
    asked = [
        *(Question(text=f"how many {color} things are there?", answer=NUMBERS[n]) for color, n in colors.items()),
        *(Question(text=f"how many {plural(shape)} are there?", answer=NUMBERS[n]) for shape, n in shapes.items()),
    ]
    for color, shape in pairs:
        if shapes[shape] == 1:
            asked.append(Question(text=f"what color is the {shape}?", answer=color))
        if colors[color] == 1:
            asked.append(Question(text=f"what shape is the {color} thing?", answer=shape))
    return asked
