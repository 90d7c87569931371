"""Splits by composition: what is held out is a combination whose parts are all seen in training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from bottega.worlds.dice import mix_text
from bottega.worlds.emoji.atlas import Emoji, load_index, sized_atlas
from bottega.worlds.pixels import WHITE, compose
from bottega.worlds.sample import Color
from bottega.worlds.settings import check_split


@lru_cache(maxsize=1)
def held_out_ids() -> frozenset[int]:
    """Tiles that training never sees: about a tenth of those with skin tones.

    Every second identity with five tones (an identity is a role and a gender, "woman astronaut") loses one of them;
    every identity with pairs of tones loses a tenth of its pairs. All tiles without a skin tone are in training.
    """
    families: dict[tuple[str, int], list[Emoji]] = defaultdict(list)
    for emoji in load_index():
        if emoji.skin_tones:
            families[emoji.base, len(emoji.skin_tones)].append(emoji)
    found: set[int] = set()
    for (base, people), family in families.items():
        if people == 1 and mix_text(base) % 2:
            continue
        ordered = sorted(family, key=lambda emoji: mix_text(emoji.name))
        found.update(emoji.id for emoji in ordered[: round(len(ordered) / (5 if people == 1 else 10))])
    return frozenset(found)


def split(name: str) -> list[Emoji]:
    """The tiles of a split, in the atlas's order.

    Args:
        name: "train", "heldout", or "all".
    """
    check_split(name)
    hidden = held_out_ids()
    return [emoji for emoji in load_index() if name == "all" or (emoji.id in hidden) == (name == "heldout")]


def family_weights(emojis: Iterable[Emoji]) -> np.ndarray:
    """How often each tile is drawn.

    An identity of n tiles weighs sqrt(n), shared by its tiles, so that skin tones do not drown objects with one tile.

    Returns:
        float64, summing to 1.
    """
    emojis = list(emojis)
    sizes: dict[str, int] = defaultdict(int)
    for emoji in emojis:
        sizes[emoji.base] += 1
    weights = np.array([sizes[emoji.base] ** -0.5 for emoji in emojis])
    return weights / weights.sum()


def reference_pictures(name: str, size: int = 64, background: Color = WHITE) -> tuple[np.ndarray, list[str]]:
    """The pictures of a split and the names as captions say them.

    Args:
        name: "train", "heldout", or "all".
        size: Side of the pictures in pixels.
        background: The colour under the tiles.

    Returns:
        uint8 `(n, size, size, 3)` and n names, in the order of `split(name)`.
    """
    emojis = split(name)
    pictures = compose(sized_atlas(size)[[emoji.id for emoji in emojis]], background)
    return pictures, [emoji.phrase for emoji in emojis]
