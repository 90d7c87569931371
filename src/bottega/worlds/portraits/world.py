"""The world of portraits: faces of two kinds that lean, turn and move: emoji faces, and critters with known places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from bottega.worlds.dice import Dice
from bottega.worlds.emoji import Emoji, load_index
from bottega.worlds.emoji.atlas import TILE, load_atlas
from bottega.worlds.pixels import SOLID, WHITE, compose
from bottega.worlds.portraits.critters import draw_critter, paint_critter
from bottega.worlds.settings import check_length, check_share, check_size, within

KINDS = ("emoji face", "critter")
"""Kinds of portraits."""

SMALLEST = 32  # px, side of the smallest pictures in which a mouth can be seen
SUBGROUPS = (
    "face-smiling", "face-affection", "face-tongue", "face-neutral-skeptical", "face-sleepy", "face-unwell",
    "face-hat", "face-glasses", "face-concerned",
)  # fmt: skip
"""Unicode's subgroups of faces that are faces only, without hands and costumes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Portrait:
    """A face with everything that is known about it.

    Args:
        picture: uint8 `(size, size, 3)`.
        caption: What it is.
        kind: One of `KINDS`.
        mask: bool `(size, size)`: the pixels of the face.
        keypoints: Places of a critter's `KEYPOINTS`, `(points, 2)`: column and row in pixels, where 0 is the middle of
            the first pixel. Empty `(0, 2)` for an emoji.
    """

    picture: np.ndarray
    caption: str
    kind: str
    mask: np.ndarray
    keypoints: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class PortraitsWorld:
    """An endless, deterministic source of faces; a map-style data set.

    Args:
        size: Side of the pictures in pixels, 32 to 512.
        critters: Share of critters, 0 to 1; the rest are emoji faces.
        seed: Any integer.
        length: What `len` says; `sample` takes any index.
    """

    size: int = 64
    critters: float = 0.5
    seed: int = 0
    length: int = 1_000_000

    def __post_init__(self) -> None:
        check_size(self.size, SMALLEST)
        check_share("critters", self.critters)
        check_length(self.length)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Portrait:
        return self.sample(within(index, self.length))

    def sample(self, index: int) -> Portrait:
        """The sample at any index from 0."""
        dice = Dice(self.seed, index)
        return _critter(dice, self.size) if dice.unit() < self.critters else _emoji(dice, self.size)

    def batch(self, indices: Sequence[int]) -> list[Portrait]:
        """The samples at these indices."""
        return [self.sample(index) for index in indices]


@lru_cache(maxsize=1)
def face_emojis() -> tuple[Emoji, ...]:
    """The emoji that are faces."""
    return tuple(emoji for emoji in load_index() if emoji.subgroup in SUBGROUPS)


def _critter(dice: Dice, size: int) -> Portrait:
    critter = draw_critter(dice)
    picture, mask, keypoints = paint_critter(critter, size)
    return Portrait(picture=picture, caption=critter.species, kind="critter", mask=mask, keypoints=keypoints)


def _emoji(dice: Dice, size: int) -> Portrait:
    """An emoji face that leans up to 15 degrees, at three quarters to all of its size, perhaps mirrored."""
    emoji = dice.pick(face_emojis())
    lean, grown = math.radians(dice.between(-15.0, 15.0)), dice.between(0.74, 0.98)
    free = 0.5 * (1.0 - grown) * size
    shift = (dice.between(-free, free), dice.between(-free, free))
    mirror = -1.0 if dice.below(2) else 1.0
    zoom, middle, center = TILE / (grown * size), (TILE - 1) / 2, (size - 1) / 2
    turn = zoom * np.array(((mirror * math.cos(lean), mirror * math.sin(lean)), (-math.sin(lean), math.cos(lean))))
    # PIL asks at pixel centers, whose first is at one half
    start = middle + 0.5 - turn @ (np.array((center, center)) + 0.5 + np.array(shift))
    matrix = (turn[0, 0], turn[0, 1], start[0], turn[1, 0], turn[1, 1], start[1])
    tile = Image.fromarray(load_atlas()[emoji.id]).convert("RGBa")
    moved = tile.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC).convert("RGBA")
    pixels = np.asarray(moved)
    return Portrait(
        picture=compose(pixels, WHITE),
        caption=emoji.phrase,
        kind="emoji face",
        mask=pixels[..., 3] >= SOLID,
        keypoints=np.zeros((0, 2)),
    )
