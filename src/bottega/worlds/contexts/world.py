"""The world of contexts: pictures that belong together, for learning and testing segmentation by example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from bottega.errors import RequestError
from bottega.worlds.contexts.context import Context, renumber
from bottega.worlds.contexts.emoji_scenes import Sprite, context_emoji, moved, paint_emoji, place
from bottega.worlds.dice import Dice, mix_text
from bottega.worlds.emoji.atlas import load_index
from bottega.worlds.settings import check_length, check_size, check_split, within
from bottega.worlds.shapes.films import NestedFilmsWorld
from bottega.worlds.shapes.grounds import View, draw_ground
from bottega.worlds.shapes.nested import NestedShapesWorld, set_up
from bottega.worlds.shapes.painting import paint
from bottega.worlds.shapes.scene import NestedScene

SMALLEST = 32  # px, side of the smallest pictures
LEAST = 1 / 256  # share of a picture's pixels that a label must be seen on
FARTHEST = 4.5  # m; figures are large enough to be told apart in small pictures
_FILM = mix_text("context films")


class ContextKind(Enum):
    """What the pictures of a context have in common."""

    EMOJI_VIEWS = "emoji views"
    """One scene of emoji, through cameras at different places."""
    EMOJI = "emoji"
    """The same emoji in different scenes."""
    FIGURE_VIEWS = "figure views"
    """One scene of figures, through cameras at different places; the whole figures."""
    PART_VIEWS = "part views"
    """The same; the parts of the figures."""
    FIGURES = "figures"
    """Figures of the same classes in different scenes; their colours say nothing."""
    PARTS = "parts"
    """The parts of one class of figures in different scenes."""


ALL_KINDS = tuple(ContextKind)
SAME_THINGS = (ContextKind.EMOJI_VIEWS, ContextKind.FIGURE_VIEWS, ContextKind.PART_VIEWS)


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextsWorld:
    """An endless, deterministic source of contexts; a map-style data set.

    Args:
        split: "train"; "heldout", whose labels mean emoji and figures that training never sees; or "all".
        kinds: What contexts are of.
        weights: How often each kind is drawn; empty for all alike.
        pictures: Pictures of a context, from 2.
        size: Side of the pictures in pixels, 32 to 512.
        seed: Any integer.
        length: What `len` says; `sample` takes any index.
    """

    split: str = "train"
    kinds: tuple[ContextKind, ...] = ALL_KINDS
    weights: tuple[float, ...] = ()
    pictures: int = 2
    size: int = 64
    seed: int = 0
    length: int = 1_000_000

    def __post_init__(self) -> None:
        check_split(self.split)
        check_size(self.size, SMALLEST)
        check_length(self.length)
        if self.pictures < 2:
            raise RequestError.of("pictures", self.pictures, "at least 2")
        if not self.kinds or (self.weights and len(self.weights) != len(self.kinds)):
            raise RequestError.of("kinds", len(self.kinds), f"at least one, with {len(self.weights)} weights or none")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Context:
        return self.sample(within(index, self.length))

    def sample(self, index: int) -> Context:
        """The context at any index from 0; every label is seen in every picture."""
        dice = Dice(self.seed, index)
        kind = dice.weighted(self.kinds, self.weights or (1.0,) * len(self.kinds))
        while True:
            made = self._emoji(dice, kind) if kind in _EMOJI else self._figures(dice, kind)
            if made is not None:
                return made

    def batch(self, indices: Sequence[int]) -> list[Context]:
        """The contexts at these indices."""
        return [self.sample(index) for index in indices]

    def film(self, index: int, frames: int, kind: ContextKind = ContextKind.EMOJI_VIEWS) -> Context:
        """A film as a context: its frames in order, with what is seen in the first.

        Args:
            index: Which film.
            frames: Frames, from 2.
            kind: `EMOJI_VIEWS` for moving emoji, `FIGURE_VIEWS` for moving figures.
        """
        dice = Dice(self.seed ^ _FILM, index)
        if kind is ContextKind.FIGURE_VIEWS:
            scenes = NestedShapesWorld(
                split=self.split, size=self.size, most=3, farthest=FARTHEST, seed=self.seed ^ _FILM
            )
            clip = NestedFilmsWorld(scenes=scenes, frames=frames, cuts=0.0, pace=0.7).sample(index)
            pictures, labels = clip.frames, np.stack([scene.instances for scene in clip.scenes])
            names = tuple(scenes_names(clip.scenes[0]))
        else:
            sprites = self._scene(dice, [])
            ways = np.array([[dice.between(-r, r) for r in (0.5, 0.35, 50.0, 0.4)] for _ in sprites])
            pan, zoom, ground = dice.between(-0.2, 0.2), dice.between(1.0, 1.2), draw_ground(dice)
            painted = []
            for frame in range(frames):
                time = (frame + 0.5) / frames
                view = View(left=0.5 - 0.5 / zoom + pan * (time - 0.5), top=0.5 - 0.5 / zoom, zoom=zoom)
                painted.append(paint_emoji(moved(sprites, ways, time), ground, view, self.size))
            pictures, labels = (np.stack(part) for part in zip(*painted, strict=True))
            names = tuple(load_index()[sprite.id].phrase for sprite in sprites)
        kept = [n + 1 for n in range(len(names)) if (labels[0] == n + 1).mean() > 2 * LEAST]
        if not kept:
            return self.film(index + 7919, frames, kind)
        chosen = tuple(names[n - 1] for n in kept)
        return Context(pictures=pictures, labels=renumber(labels, kept), names=chosen, same=True)

    def _scene(self, dice: Dice, shared: Sequence[int]) -> list[Sprite]:
        """A scene with the shared emoji and up to three others."""
        others = context_emoji("train" if self.split == "train" else "all")
        count = max(1 if shared else 2, len(shared)) + dice.below(3)
        tiles = [*shared]
        if not shared:
            tiles.append(dice.pick(context_emoji(self.split)))
        while len(tiles) < min(count, 5):
            tile = dice.pick(others)
            if tile not in tiles:
                tiles.append(tile)
        return place(dice, dice.choose(tiles, len(tiles)))

    def _emoji(self, dice: Dice, kind: ContextKind) -> Context | None:
        if kind is ContextKind.EMOJI_VIEWS:
            sprites, ground = self._scene(dice, []), draw_ground(dice)
            tiles = [sprite.id for sprite in sprites]
            painted = [paint_emoji(sprites, ground, draw_crop(dice), self.size) for _ in range(self.pictures)]
            labels = [labels for _, labels in painted]
        else:
            tiles = dice.choose(context_emoji(self.split), 1 + dice.below(3))
            painted, labels = [], []
            for _ in range(self.pictures):
                sprites = self._scene(dice, tiles)
                picture = paint_emoji(sprites, draw_ground(dice), draw_camera(dice), self.size)
                table = np.array([0, *(1 + tiles.index(one.id) if one.id in tiles else 0 for one in sprites)])
                painted.append(picture)
                labels.append(table.astype(np.uint8)[picture[1]])
        names = [load_index()[tile].phrase for tile in tiles]
        return self._checked([picture for picture, _ in painted], labels, names, kind)

    def _figures(self, dice: Dice, kind: ContextKind) -> Context | None:
        world = NestedShapesWorld(split=self.split, size=self.size, most=3 if kind in _PARTS else 4, farthest=FARTHEST)
        about = dice.choose(world.kinds(), 1 if kind in _PARTS else 1 + dice.below(2))
        numbers = [one.id for one in about]
        scenes: list[NestedScene] = []
        if kind in SAME_THINGS:
            stage, poses = set_up(world, dice, about)
            scenes = [paint(stage, poses, self.size, draw_crop(dice)) for _ in range(self.pictures)]
        else:
            scenes = [paint(*set_up(world, dice, about), self.size, draw_camera(dice)) for _ in range(self.pictures)]
        match kind:
            case ContextKind.FIGURE_VIEWS:
                labels, names = [scene.instances for scene in scenes], scenes_names(scenes[0])
            case ContextKind.PART_VIEWS:
                pieces = scenes[0].pieces
                labels, names = [scene.labels for scene in scenes], [piece.name for piece in pieces]
            case ContextKind.FIGURES:
                labels = [renumber(scene.semantic, [1 + number for number in numbers]) for scene in scenes]
                names = [one.name for one in about]
            case _:
                labels, names = parts_of(scenes, numbers[0])
        return self._checked([scene.picture for scene in scenes], labels, names, kind)

    def _checked(
        self, pictures: Sequence[np.ndarray], labels: Sequence[np.ndarray], names: Sequence[str], kind: ContextKind
    ) -> Context | None:
        """The context of the labels that are seen well enough in every picture; None if there are none."""
        same = kind in SAME_THINGS
        made = Context(pictures=np.stack(pictures), labels=np.stack(labels), names=tuple(names), same=same)
        kept = [int(n) + 1 for n in np.flatnonzero(made.seen(LEAST).all(axis=0))]
        if not kept:
            return None
        chosen = tuple(made.names[n - 1] for n in kept)
        return Context(pictures=made.pictures, labels=renumber(made.labels, kept), names=chosen, same=same)


_EMOJI = (ContextKind.EMOJI_VIEWS, ContextKind.EMOJI)
_PARTS = (ContextKind.PART_VIEWS, ContextKind.PARTS)


def draw_crop(dice: Dice) -> View:
    """A camera that sees a square of a half to all of a scene's side, mirrored or not; any two of them overlap."""
    share = dice.between(0.55, 1.0)
    left, top = ((1 - share) * dice.unit() for _ in range(2))
    return View(left=left, top=top, zoom=1 / share, flip=dice.below(2) == 1)


def draw_camera(dice: Dice) -> View:
    """A camera that sees most of a scene; it does not mirror, for a class's parts may have sides."""
    zoom = dice.between(1.0, 1.25)
    left, top = ((1 - 1 / zoom) * dice.unit() for _ in range(2))
    return View(left=left, top=top, zoom=zoom)


def scenes_names(scene: NestedScene) -> list[str]:
    """Names of the wholes, in order."""
    return [scene.pieces[number].name for number in scene.wholes]


def parts_of(scenes: Sequence[NestedScene], number: int) -> tuple[list[np.ndarray], list[str]]:
    """The parts of a class: what lies on top of its wholes by the name of the piece, "rest" for the whole itself."""
    pieces = [piece for scene in scenes for piece in scene.pieces if piece.kind == number]
    names = sorted({"rest" if piece.level == 0 else piece.name for piece in pieces})
    labels = []
    for scene in scenes:
        table = [0]
        for piece in scene.pieces:
            name = "rest" if piece.level == 0 else piece.name
            table.append(1 + names.index(name) if piece.kind == number else 0)
        labels.append(np.array(table, dtype=np.uint8)[scene.labels])
    return labels, names
