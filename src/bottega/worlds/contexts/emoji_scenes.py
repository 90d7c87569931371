"""Scenes of emoji on any ground, through a camera: exact labels of what is seen, two views of one scene, and films."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image

from bottega.worlds.dice import Dice, mix_text
from bottega.worlds.emoji.atlas import Emoji, load_atlas, load_index
from bottega.worlds.pixels import SOLID, compose, resize
from bottega.worlds.shapes.grounds import Ground, View

HELD_OUT_SHARE = 10  # one emoji in so many is kept from training


@dataclass(frozen=True, kw_only=True, slots=True)
class Sprite:
    """An emoji in a scene.

    Args:
        id: Its tile.
        x: Its middle, in sides of the scene from the left.
        y: The same, from the top.
        side: Its tile's side, in sides of the scene.
        angle: Degrees, counter-clockwise.
        flip: Whether left and right are swapped before it is turned.
    """

    id: int
    x: float
    y: float
    side: float
    angle: float = 0.0
    flip: bool = False


def is_held_out(emoji: Emoji) -> bool:
    """Whether training in contexts never shows this emoji: one in ten, by its name."""
    return mix_text(f"context {emoji.base}") % HELD_OUT_SHARE == 0


@lru_cache(maxsize=3)
def context_emoji(split: str) -> tuple[int, ...]:
    """Tiles of a split, "train", "heldout" or "all": every emoji without skin tone, as a class of its own."""
    plain = [emoji for emoji in load_index() if not emoji.skin_tones]
    return tuple(emoji.id for emoji in plain if split == "all" or is_held_out(emoji) == (split == "heldout"))


def pose(dice: Dice, tile: int, others: Sequence[Sprite], sides: tuple[float, float]) -> Sprite:
    """Draws where an emoji stands, as far from the others as a few attempts find.

    Args:
        dice: Random numbers.
        tile: The emoji.
        others: Those that stand there already.
        sides: Least and greatest side, in sides of the scene.
    """
    side = dice.between(*sides)
    turn = dice.between(-25, 25) if dice.unit() < 0.8 else dice.between(-180, 180)
    best, room = (0.5, 0.5), -math.inf
    for _ in range(12):
        x, y = (dice.between(0.4 * side, 1 - 0.4 * side) for _ in range(2))
        free = min((math.hypot(x - o.x, y - o.y) / (o.side + side) for o in others), default=1.0)
        if free > room:
            best, room = (x, y), free
        if free > 0.45:
            break
    return Sprite(id=tile, x=best[0], y=best[1], side=side, angle=turn, flip=dice.below(4) == 0)


def place(dice: Dice, tiles: Sequence[int]) -> list[Sprite]:
    """Draws where emoji stand; the more there are, the smaller they are."""
    most = {1: 0.8, 2: 0.55, 3: 0.46, 4: 0.4}.get(len(tiles), 0.36)
    sprites: list[Sprite] = []
    for tile in tiles:
        sprites.append(pose(dice, tile, sprites, (0.6 * most, most)))
    return sprites


def draw_emoji(sprite: Sprite, zoom: float, size: int, *, mirrored: bool) -> np.ndarray:
    """A sprite as a picture with opacity at the size at which a camera sees it: uint8 `(side, side, 4)`."""
    side = max(4, round(sprite.side * zoom * size))
    tile = resize(load_atlas()[sprite.id], side)
    if sprite.flip != mirrored:
        tile = tile[:, ::-1]
    angle = -sprite.angle if mirrored else sprite.angle
    if abs(angle) < 1:
        return tile
    turned = Image.fromarray(tile).convert("RGBa").rotate(angle, Image.Resampling.BICUBIC, expand=True)
    return np.asarray(turned.convert("RGBA"))


def paint_emoji(sprites: Sequence[Sprite], ground: Ground, view: View, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A scene through a camera.

    Args:
        sprites: From far to near.
        ground: What lies behind them.
        view: What the camera sees.
        size: Side of the picture in pixels.

    Returns:
        The picture, uint8 `(size, size, 3)`, and labels, uint8 `(size, size)`: n + 1 where sprite n is on top.
    """
    picture = np.rint(ground.seen(view, size)).astype(np.uint8)
    labels = np.zeros((size, size), dtype=np.uint8)
    for number, sprite in enumerate(sprites, 1):
        tile = draw_emoji(sprite, view.zoom, size, mirrored=view.flip)
        x, y = view.to_picture(np.array([sprite.x, sprite.y])) * size
        left, top = round(x - tile.shape[1] / 2), round(y - tile.shape[0] / 2)
        cut = (slice(max(-top, 0), size - top), slice(max(-left, 0), size - left))
        shown = tile[cut] if size > max(left, top) else tile[:0]
        if shown.size == 0:
            continue
        down, right = max(top, 0), max(left, 0)
        window = (slice(down, down + shown.shape[0]), slice(right, right + shown.shape[1]))
        picture[window] = compose(shown, picture[window])
        labels[window][shown[..., 3] >= SOLID] = number
    return picture, labels


def moved(sprites: Sequence[Sprite], ways: np.ndarray, time: float) -> list[Sprite]:
    """The sprites at a time of a film.

    Args:
        sprites: As they are in the middle of the film.
        ways: float `(sprites, 4)`: sides to the right and downwards, degrees, and the logarithm of growth, per film.
        time: From 0 to 1.
    """
    steps = ways * (time - 0.5)
    return [
        replace(one, x=one.x + right, y=one.y + down, angle=one.angle + turn, side=one.side * math.exp(growth))
        for one, (right, down, turn, growth) in zip(sprites, steps, strict=True)
    ]
