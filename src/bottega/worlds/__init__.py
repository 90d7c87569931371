"""Worlds: procedural and bundled data with exact answers, as deterministic functions of a seed and an index."""

from collections.abc import Callable
from typing import Any

from bottega.errors import RequestError
from bottega.worlds.emoji import ColouredEmojiWorld, EmojiWorld
from bottega.worlds.phantoms import Phantom, PhantomsWorld
from bottega.worlds.pixels import compose, tight_box
from bottega.worlds.sample import Box, Clip, Color, Question, Sample, Thing, World
from bottega.worlds.shapes import MovingShapesWorld, ShapesWorld

WORLDS: dict[str, Callable[[], World[Any]]] = {
    "emoji": EmojiWorld,
    "coloured-emoji": ColouredEmojiWorld,
    "shapes": ShapesWorld,
    "moving-shapes": MovingShapesWorld,
    "phantoms": PhantomsWorld,
}


def open_world(name: str) -> World[Any]:
    """A bundled world by name, with its default settings; for others, make it from its class.

    Args:
        name: "emoji", "coloured-emoji", "shapes" or "moving-shapes".
    """
    if name not in WORLDS:
        raise RequestError.of("world", name, f"one of {', '.join(WORLDS)}")
    return WORLDS[name]()


__all__ = [
    "WORLDS",
    "Box",
    "Clip",
    "Color",
    "ColouredEmojiWorld",
    "EmojiWorld",
    "MovingShapesWorld",
    "Phantom",
    "PhantomsWorld",
    "Question",
    "Sample",
    "ShapesWorld",
    "Thing",
    "World",
    "compose",
    "open_world",
    "tight_box",
]
