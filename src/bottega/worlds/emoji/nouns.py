"""Which emoji can stand in a scene: those whose name is a plain countable noun phrase."""

from __future__ import annotations

import re
from functools import lru_cache

from bottega.worlds.emoji.atlas import Emoji
from bottega.worlds.emoji.splits import split
from bottega.worlds.english import looks_plural
from bottega.worlds.scenes import Noun

_SUBGROUPS = re.compile(
    r"face-.*|cat-face|monkey-face|heart|animal-.*|plant-.*|food-.*|drink|dishware|"
    r"place-(building|religious|geographic|other)|transport-(ground|water|air)|hotel|time|sky & weather|"
    r"event|award-medal|sport|game|arts & crafts|clothing|sound|music|musical-instrument|phone|computer|light & video|"
    r"book-paper|money|mail|writing|office|lock|tool|science|medical|household|other-object"
)
_PEOPLE = re.compile(r"person-(role|fantasy)")
# Names that are no plain countable noun: happenings, single places, signs, two things at once.
_NO_NOUN = re.compile(
    r"[^a-z' -]|o'clock|-thirty|\b(and|facing|exhaling|vomiting|screaming|holding|savoring|blowing|shaking|fluttering|"
    r"behind|volume|increasing|decreasing|tilted|done|locked|unlocked|departure|arrival|pouring|wearing|feeding|claus|"
    r"guard|suit|sign|symbol|japan|japanese|fuji|tokyo|liberty|card index|mahjong|wings|beach|dusk|night|mountains)\b"
)
_STUFF = frozenset(
    (
        "american football, badminton, bacon, baguette bread, black nib, bowling, bread, broccoli, bubble tea, butter, "
        "building construction, camping, canned food, cherry blossom, cityscape, construction, cooked rice, cooking, "
        "coral, cricket game, curry rice, custard, dango, desert, dna, dotted line face, falafel, field hockey, fire, "
        "flatbread, flower playing cards, fog, foggy, fondue, garlic, gem stone, high voltage, hot beverage, ice, "
        "ice hockey, heart decoration, heart exclamation, kaaba, lacrosse, leafy green, light rail, luggage, mate, "
        "mending heart, metro, milky way, moon viewing ceremony, motorway, mountain railway, mouse trap, "
        "national park, oden, performing arts, ping pong, police car light, popcorn, railway track, roll of paper, "
        "rolling on the floor laughing, sake, salt, shaved ice, soap, soft ice cream, spaghetti, star-struck, station, "
        "stop sign, stuffed flatbread, sunrise, sunset, suspension railway, sushi, tennis, thread, video game, "
        "water wave, wedding, wood, yarn"
    ).split(", ")
)


def noun(emoji: Emoji) -> Noun | None:
    """The emoji as a noun for scenes, or None when its name is not one."""
    if _PEOPLE.fullmatch(emoji.subgroup):
        return _person(emoji)
    phrase = emoji.phrase
    if not _SUBGROUPS.fullmatch(emoji.subgroup) or _NO_NOUN.search(phrase):
        return None
    if phrase in _STUFF or looks_plural(phrase) or emoji.skin_tones:
        return None
    return Noun(id=emoji.id, phrase=phrase, identity=emoji.base)


def _person(emoji: Emoji) -> Noun | None:
    """One person with a role: "woman astronaut with dark skin tone"."""
    if _NO_NOUN.search(emoji.base) or " " in emoji.role or len(emoji.skin_tones) > 1:
        return None
    tone = f" with {emoji.skin_tones[0]} skin tone" if emoji.skin_tones else ""
    return Noun(id=emoji.id, phrase=emoji.base + tone, identity=emoji.base, many=False)


@lru_cache(maxsize=1)
def scene_nouns() -> tuple[Noun, ...]:
    """What can stand in scenes: tiles of the training split, but of people with skin tones only one tile in six."""
    found = [made for emoji in split("train") if (made := noun(emoji)) is not None]
    return tuple(made for number, made in enumerate(found) if made.many or number % 6 == 0)
