"""English for captions: articles, plurals and numbers for simple noun phrases."""

from __future__ import annotations

import re
from collections.abc import Sequence

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
IRREGULAR = {
    "bison": "bison",
    "blowfish": "blowfish",
    "cactus": "cacti",
    "child": "children",
    "deer": "deer",
    "die": "dice",
    "fish": "fish",
    "foot": "feet",
    "goose": "geese",
    "knife": "knives",
    "leaf": "leaves",
    "man": "men",
    "mango": "mangoes",
    "moose": "moose",
    "mosquito": "mosquitoes",
    "mouse": "mice",
    "ox": "oxen",
    "person": "people",
    "potato": "potatoes",
    "scarf": "scarves",
    "sheaf": "sheaves",
    "shrimp": "shrimp",
    "snowman": "snowmen",
    "squid": "squid",
    "tomato": "tomatoes",
    "tooth": "teeth",
    "tornado": "tornadoes",
    "volcano": "volcanoes",
    "wolf": "wolves",
    "woman": "women",
}
_TAIL = re.compile(r" (?:with|without|of|in|on|from|for|behind|fluttering|facing) .*$")
_CONSONANT_START = re.compile(r"uni|one|euro|us|ute|ufo|ewe")
_VOWEL_START = re.compile(r"[aeiou]|x-ray|hour")


def head_of(phrase: str) -> str:
    """The phrase up to its last noun: "face" of "face with open mouth"."""
    return _TAIL.sub("", phrase)


def article(phrase: str) -> str:
    """The phrase with "a" or "an" before it."""
    vowel = _VOWEL_START.match(phrase) and not _CONSONANT_START.match(phrase)
    return f"{'an' if vowel else 'a'} {phrase}"


def plural(phrase: str) -> str:
    """The plural of a countable phrase: "face with open mouth" to "faces with open mouth"."""
    head = head_of(phrase)
    before, space, last = head.rpartition(" ")
    return before + space + _plural_word(last) + phrase[len(head) :]


def _plural_word(word: str) -> str:
    if word in IRREGULAR:
        return IRREGULAR[word]
    if re.search(r"(s|x|z|ch|sh)$", word):
        return word + "es"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"


def looks_plural(phrase: str) -> bool:
    """Whether the phrase's noun is a plural already ("grapes", "french fries"), by its ending."""
    return re.search(r"(?<![suo])s$", head_of(phrase)) is not None


def counted(count: int, phrase: str) -> str:
    """The phrase with its number: "a red apple", "two red apples"."""
    return article(phrase) if count == 1 else f"{NUMBERS[count]} {plural(phrase)}"


def definite(count: int, phrase: str) -> str:
    """The phrase as something already mentioned: "the red apple", "the two red apples"."""
    return f"the {phrase}" if count == 1 else f"the {NUMBERS[count]} {plural(phrase)}"


def listed(phrases: Sequence[str]) -> str:
    """Phrases in a row: "a, b and c"."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
