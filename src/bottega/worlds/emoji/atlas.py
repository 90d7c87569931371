"""The bundled atlas of Noto Color Emoji: pictures, names, keywords and attributes of each tile."""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources

import numpy as np
from PIL import Image

from bottega.errors import RequestError
from bottega.worlds.pixels import resize
from bottega.worlds.settings import check_size

TILE = 64  # px, side of a tile in the atlas
SMALLEST = 16  # px, side of the smallest pictures that still show something


@dataclass(frozen=True, kw_only=True, slots=True)
class Emoji:
    """One tile of the atlas.

    Args:
        id: The tile's number in the atlas.
        characters: The Unicode sequence.
        name: Unicode's name in lower case, such as "woman astronaut: medium skin tone" or "flag: france".
        keywords: CLDR's English keywords, without the name.
        group: Unicode's group, such as "Food & Drink".
        subgroup: Unicode's subgroup, such as "food-fruit".
        base: The identity: the name without skin tones.
        skin_tones: "light", "medium-light", "medium", "medium-dark" or "dark": none, one, or one each for two people.
        hair: "red", "curly", "white", "bald", "blond", or "".
        gender: "woman", "man", "mixed" (several people), "neutral", or "" where there is no person.
        role: What a person is or does ("astronaut", "running"), or "".
        aliases: Names of other sequences that look exactly the same.
    """

    id: int
    characters: str
    name: str
    keywords: tuple[str, ...] = field(repr=False)
    group: str
    subgroup: str
    base: str
    skin_tones: tuple[str, ...]
    hair: str
    gender: str
    role: str
    aliases: tuple[str, ...] = field(repr=False)

    @property
    def phrase(self) -> str:
        """The name as one says it: "woman astronaut, medium skin tone", "flag of france"."""
        return say(self.name)


_PLAIN = str.maketrans({"’": "'", "“": None, "”": None, "&": "and"})


def say(name: str) -> str:
    """A Unicode name as one says it, without colon, quotes and ampersand.

    Source: the patterns of CLDR's derived names: "flag: France", "keycap: 1", "family: man, girl", "kiss: man, man".
    """
    head, colon, tail = name.translate(_PLAIN).partition(": ")
    if not colon:
        return head
    if head == "flag":
        return f"flag of {tail}"
    if head == "keycap":
        return f"keycap {tail}"
    return f"{head}, {tail}"


def _data(name: str) -> bytes:
    return resources.files("bottega.worlds.emoji").joinpath("data", name).read_bytes()


@lru_cache(maxsize=1)
def load_index() -> tuple[Emoji, ...]:
    """Every tile's record, in the atlas's order; read once per process."""
    rows = csv.DictReader(io.StringIO(_data("index.tsv").decode("utf-8")), delimiter="\t")
    return tuple(_read_row(number, row) for number, row in enumerate(rows))


def _read_row(number: int, row: dict[str, str]) -> Emoji:
    def several(column: str) -> tuple[str, ...]:
        return tuple(row[column].split("|")) if row[column] else ()

    return Emoji(
        id=number,
        characters=row["characters"],
        name=row["name"].lower(),
        keywords=tuple(word.lower() for word in several("keywords")),
        group=row["group"],
        subgroup=row["subgroup"],
        base=row["base"].lower(),
        skin_tones=several("skin_tones"),
        hair=row["hair"],
        gender=row["gender"],
        role=row["role"],
        aliases=tuple(name.lower() for name in several("aliases")),
    )


@lru_cache(maxsize=1)
def load_atlas() -> np.ndarray:
    """Every tile's picture, decoded once per process and read-only.

    Returns:
        uint8 `(tiles, 64, 64, 4)`: red, green, blue, and opacity; colours are not multiplied by opacity.
    """
    count = len(load_index())
    with Image.open(io.BytesIO(_data("atlas.webp"))) as sheet:
        pixels = np.asarray(sheet.convert("RGBA"))
    rows, columns = pixels.shape[0] // TILE, pixels.shape[1] // TILE
    tiles = pixels.reshape(rows, TILE, columns, TILE, 4).swapaxes(1, 2).reshape(-1, TILE, TILE, 4)[:count].copy()
    tiles.setflags(write=False)
    return tiles


@lru_cache(maxsize=4)
def sized_atlas(size: int) -> np.ndarray:
    """The atlas at another size, read-only; resampling is premultiplied by opacity.

    Args:
        size: Side of a tile in pixels, 16 to 512.

    Returns:
        uint8 `(tiles, size, size, 4)`.
    """
    check_size(size, SMALLEST)
    if size == TILE:
        return load_atlas()
    tiles = np.stack([resize(tile, size) for tile in load_atlas()])
    tiles.setflags(write=False)
    return tiles


@lru_cache(maxsize=1)
def _load_names() -> dict[str, tuple[str, ...]]:
    rows = csv.reader(io.StringIO(gzip.decompress(_data("names.tsv.gz")).decode("utf-8")), delimiter="\t")
    languages = next(rows)
    return dict(zip(languages, zip(*rows, strict=True), strict=True))


def languages() -> tuple[str, ...]:
    """Codes of the languages that `names` knows."""
    return ("en", *_load_names())


def names(language: str = "en") -> tuple[str, ...]:
    """Every tile's name in a language, in the atlas's order; "" where CLDR has none.

    Args:
        language: A code of `languages()`.
    """
    if language == "en":
        return tuple(emoji.phrase for emoji in load_index())
    try:
        return _load_names()[language]
    except KeyError:
        raise RequestError.of("language", language, f"one of {', '.join(languages())}") from None
