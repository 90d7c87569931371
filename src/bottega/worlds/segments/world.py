"""Scenes for learning to segment anything: figures with parts, and emoji whose parts are their even patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bottega.errors import RequestError
from bottega.ops import grown, label_regions
from bottega.worlds.contexts.emoji_scenes import Sprite, context_emoji, paint_emoji, place
from bottega.worlds.dice import Dice, mix_text
from bottega.worlds.emoji.atlas import load_index
from bottega.worlds.settings import check_length, check_share, check_size, check_split, within
from bottega.worlds.shapes.grounds import WHOLE, draw_ground
from bottega.worlds.shapes.nested import NestedShapesWorld

SMALLEST = 64  # px, side of the smallest pictures
LEAST = 1 / 600  # share of the picture's pixels that a mask covers at least
PART = (0.03, 0.8)  # a patch is a part if it covers this share of its emoji
EVEN = 14.0  # grey levels between neighbours, above which an edge runs between patches
FINEST = 12  # px, in the smallest patch that is told from an edge's blur
REACH = 3  # px by which a patch reaches over its blurred edge at most
_SCENES = mix_text("segments")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SegmentScene:
    """A picture with the masks of what can be meant in it.

    Args:
        picture: uint8 `(height, width, 3)`.
        masks: bool `(segments, height, width)`: what is seen of each; parts lie in their wholes.
        levels: int64 `(segments,)`: 0 for wholes, 1 for parts, 2 for parts of parts.
        names: What each is, in words; for an emoji's patch the emoji's name.
        wholes: int64 `(segments,)`: the segment that is the whole of each.
    """

    picture: np.ndarray
    masks: np.ndarray
    levels: np.ndarray
    names: tuple[str, ...]
    wholes: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentsWorld:
    """An endless, deterministic source of scenes with masks at several levels; a map-style data set.

    Args:
        split: "train"; "heldout", which shows emoji and figures that training never sees; or "all".
        size: Side of the pictures in pixels, 64 to 512.
        emoji: Share of scenes of emoji, 0 to 1; the others are of figures.
        most: Most things of a scene, 1 to 8.
        seed: Any integer.
        length: What `len` says; `sample` takes any index.
    """

    split: str = "train"
    size: int = 256
    emoji: float = 0.5
    most: int = 6
    seed: int = 0
    length: int = 1_000_000

    def __post_init__(self) -> None:
        check_split(self.split)
        check_size(self.size, SMALLEST)
        check_share("emoji", self.emoji)
        check_length(self.length)
        if not 1 <= self.most <= 8:
            raise RequestError.of("most", self.most, "between 1 and 8")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> SegmentScene:
        return self.sample(within(index, self.length))

    def sample(self, index: int) -> SegmentScene:
        """The scene at any index from 0; it has at least one mask."""
        dice = Dice(self.seed ^ _SCENES, index)
        figures = NestedShapesWorld(split=self.split, size=self.size, most=self.most, seed=self.seed)
        while True:
            made = emoji_scene(self, dice) if dice.unit() < self.emoji else figure_scene(figures, dice)
            if len(made.masks):
                return made

    def batch(self, indices: Sequence[int]) -> list[SegmentScene]:
        """The scenes at these indices."""
        return [self.sample(index) for index in indices]


def figure_scene(world: NestedShapesWorld, dice: Dice) -> SegmentScene:
    """A scene of figures with the masks of all pieces that are seen well enough."""
    scene = world.sample(dice.below(2**40))
    seen = scene.seen(int(scene.labels.size * LEAST))
    places = {piece: place for place, piece in enumerate(seen)}
    return SegmentScene(
        picture=scene.picture,
        masks=scene.masks(seen),
        levels=np.array([scene.pieces[n].level for n in seen], dtype=np.int64),
        names=tuple(scene.pieces[n].name for n in seen),
        wholes=np.array([places[scene.pieces[n].whole] for n in seen], dtype=np.int64),
    )


def emoji_scene(world: SegmentsWorld, dice: Dice) -> SegmentScene:
    """A scene of emoji on any ground, with the masks of the emoji and of their even patches."""
    count = 1 + dice.below(world.most)
    tiles = [dice.pick(context_emoji(world.split)) for _ in range(count)]
    sprites = sorted(place(dice, tiles), key=lambda sprite: -sprite.side)
    picture, labels = paint_emoji(sprites, draw_ground(dice), WHOLE, world.size)
    masks, levels, names, wholes = [], [], [], []
    for number, sprite in enumerate(sprites, 1):
        mask = labels == number
        if mask.sum() < mask.size * LEAST:
            continue
        parts = patches(picture, mask)
        wholes += [len(masks)] * (1 + len(parts))
        masks += [mask, *parts]
        levels += [0, *[1] * len(parts)]
        names += [name(sprite)] * (1 + len(parts))
    return SegmentScene(
        picture=picture,
        masks=np.array(masks, dtype=bool).reshape(-1, *labels.shape),
        levels=np.array(levels, dtype=np.int64),
        names=tuple(names),
        wholes=np.array(wholes, dtype=np.int64),
    )


def name(sprite: Sprite) -> str:
    """What a sprite is, as one says it."""
    return load_index()[sprite.id].phrase


def patches(picture: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """The even patches of a thing: regions without an edge inside, which reach to the middle of the edges around them.

    Args:
        picture: uint8 `(height, width, 3)`.
        mask: bool `(height, width)`: the thing.

    Returns:
        One mask a patch, within the thing; none for a thing that is one patch.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inside, colours = mask[window], picture[window].astype(np.int16)
    even = inside.copy()
    for axis in (0, 1):
        step = np.abs(np.diff(colours, axis=axis)).max(-1) > EVEN
        before = (slice(None), slice(None, -1)) if axis else (slice(None, -1), slice(None))
        even[before] &= ~step
    regions, sizes = label_regions(even, corners=False)
    total = inside.sum()
    kept = np.flatnonzero((sizes >= PART[0] * total) & (sizes <= PART[1] * total)) + 1
    if not len(kept) or total * PART[0] < FINEST:
        return []
    regions = grown(regions, inside, REACH)
    found = []
    for number in kept:
        part = np.zeros_like(mask)
        part[window] = regions == number
        if part.sum() >= mask.size * LEAST:
            found.append(part)
    return found
