"""Worlds: procedural and bundled data with exact answers, as deterministic functions of a seed and an index."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bottega.errors import RequestError
from bottega.worlds.dice import Dice, mix_text
from bottega.worlds.emoji import ColouredEmojiWorld, EmojiWorld
from bottega.worlds.phantoms import Phantom, PhantomsWorld
from bottega.worlds.pixels import compose, tight_box
from bottega.worlds.portraits import PortraitsWorld
from bottega.worlds.sample import Box, Clip, Color, Question, Sample, Thing, World
from bottega.worlds.shapes import MovingShapesWorld, NestedScene, NestedShapesWorld, ShapesWorld

WORLDS: dict[str, Callable[[], World[Any]]] = {
    "emoji": EmojiWorld,
    "coloured-emoji": ColouredEmojiWorld,
    "shapes": ShapesWorld,
    "moving-shapes": MovingShapesWorld,
    "nested-shapes": NestedShapesWorld,
    "phantoms": PhantomsWorld,
    "portraits": PortraitsWorld,
}


def open_world(name: str) -> World[Any]:
    """A bundled world by name, with its default settings; for others, make it from its class.

    Args:
        name: "emoji", "coloured-emoji", "shapes", "moving-shapes", "nested-shapes" or "phantoms".
    """
    if name not in WORLDS:
        raise RequestError.of("world", name, f"one of {', '.join(WORLDS)}")
    return WORLDS[name]()


def source_at(place: str | Path | None, default: Any) -> Any:  # noqa: ANN401 - a world or a folder of the user's
    """What training reads: a room's own world, another by name, or what lies in a folder or archive.

    Args:
        place: A world's name, or a place that `bottega.data.open_source` opens; None takes the default.
        default: The room's own world, with its settings; its bare name means it, too.

    Raises:
        FileError: No picture can be used there.
    """
    from bottega.data import open_source  # noqa: PLC0415 - it imports torch, which worlds do without

    if place is None:
        return default
    if not isinstance(place, str) or place not in WORLDS:
        return open_source(place)
    return default if WORLDS[place] is type(default) else open_world(place)


__all__ = [
    "WORLDS",
    "Box",
    "Clip",
    "Color",
    "ColouredEmojiWorld",
    "Dice",
    "EmojiWorld",
    "MovingShapesWorld",
    "NestedScene",
    "NestedShapesWorld",
    "Phantom",
    "PhantomsWorld",
    "PortraitsWorld",
    "Question",
    "Sample",
    "ShapesWorld",
    "Thing",
    "World",
    "compose",
    "mix_text",
    "open_world",
    "source_at",
    "tight_box",
]
