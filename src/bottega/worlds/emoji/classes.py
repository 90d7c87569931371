"""Unicode's subgroups as the classes of single emoji."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Protocol

from bottega.errors import RequestError
from bottega.worlds.emoji.atlas import Emoji, load_index
from bottega.worlds.sample import Sample

EMOJI_CLASSES = (
    "face smiling", "face affection", "face tongue", "face hand", "face neutral skeptical", "face sleepy",
    "face unwell", "face hat", "face glasses", "face concerned", "face negative", "face costume", "cat face",
    "monkey face", "heart", "emotion", "hand fingers open", "hand fingers partial", "hand single finger",
    "hand fingers closed", "hands", "hand prop", "body parts", "person", "person gesture", "person role",
    "person fantasy", "person activity", "person sport", "person resting", "family", "person symbol",
    "animal mammal", "animal bird", "animal amphibian", "animal reptile", "animal marine", "animal bug",
    "plant flower", "plant other", "food fruit", "food vegetable", "food prepared", "food asian", "food marine",
    "food sweet", "drink", "dishware", "place map", "place geographic", "place building", "place religious",
    "place other", "transport ground", "transport water", "transport air", "hotel", "time", "sky & weather",
    "event", "award medal", "sport", "game", "arts & crafts", "clothing", "sound", "music", "musical instrument",
    "phone", "computer", "light & video", "book paper", "money", "mail", "writing", "office", "lock", "tool",
    "science", "medical", "household", "other object", "transport sign", "warning", "arrow", "religion", "zodiac",
    "av symbol", "gender", "math", "punctuation", "currency", "other symbol", "keycap", "alphanum", "geometric",
    "flag", "country flag", "subdivision flag",
)  # fmt: skip
"""Unicode's subgroups of the emoji in the atlas, with spaces for hyphens."""


class HasCaption(Protocol):
    """Anything with words."""

    @property
    def caption(self) -> str:
        """The words."""
        ...


def emoji_class(emoji: Emoji) -> str:
    """The name of an emoji's class."""
    return emoji.subgroup.replace("-", " ")


def class_number(names: Sequence[str], classes: int, text: str) -> int:
    """The number of a class that is given by name or number.

    Args:
        names: The classes' names; none where they have numbers only.
        classes: How many classes there are.
        text: What a user typed.

    Raises:
        RequestError: There is no such class.
    """
    plain = plain_words(text)
    if plain in names:
        return list(names).index(plain)
    if plain.isascii() and plain.isdigit() and int(plain) < classes:
        return int(plain)
    numbers = f"a number from 0 to {classes - 1}"
    if not names:
        raise RequestError.of("the class", text, numbers)
    near = get_close_matches(plain, names, n=3, cutoff=0.4) or names[:3]
    raise RequestError.of("the class", text, f"one of {len(names)} names, such as {', '.join(near)}, or {numbers}")


def class_of_sample(names: Sequence[str], sample: HasCaption) -> int | None:
    """The class of a picture: the subgroup of its one emoji, else its caption; None where that is no class."""
    name = plain_words(sample.caption)
    if isinstance(sample, Sample) and len(sample.things) == 1:
        only, emojis = sample.things[0], load_index()
        if 0 <= only.id < len(emojis) and emojis[only.id].phrase == only.name:  # other worlds number other things
            name = emoji_class(emojis[only.id])
    return list(names).index(name) if name in names else None


def plain_words(text: str) -> str:
    """Lower case, with single spaces for hyphens and runs of spaces."""
    return " ".join(text.lower().replace("-", " ").split())
