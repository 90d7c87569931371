"""English for emoji names: articles and plurals of the simple ones."""

from __future__ import annotations

import re

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Names that take no article and are not counted: stuff, and what is plural already.
MASS = frozenset(
    "bacon bread broccoli butter cheese chocolate corn curry dango fire fog food fuel garlic ginger honey ice jade japan "
    "lacrosse luggage meat milk money oden paper popcorn rice salt sashimi shampoo smoke soap soup spaghetti stew sushi "
    "tea thread toilet wine wood yarn judo rugby tennis basketball baseball football softball volleyball badminton "
    "cricket golf pool judo uniform".split()
)
IRREGULAR = {
    "man": "men",
    "woman": "women",
    "person": "people",
    "child": "children",
    "mouse": "mice",
    "goose": "geese",
    "ox": "oxen",
    "foot": "feet",
    "tooth": "teeth",
    "leaf": "leaves",
    "knife": "knives",
    "wolf": "wolves",
    "loaf": "loaves",
    "shelf": "shelves",
    "fish": "fish",
    "sheep": "sheep",
    "shrimp": "shrimp",
    "squid": "squid",
    "deer": "deer",
    "bison": "bison",
    "blowfish": "blowfish",
    "potato": "potatoes",
    "tomato": "tomatoes",
    "mango": "mangoes",
    "volcano": "volcanoes",
    "mosquito": "mosquitoes",
    "cactus": "cacti",
    "octopus": "octopuses",
    "fly": "flies",
}
_HEAD = re.compile(r"^(.*?)( (?:with|of|in|on|from|for) .*)?$")


def article(phrase: str) -> str:
    """The phrase with "a" or "an" before it."""
    first = phrase.split()[0]
    hard = re.match(r"(uni|one|euro|us|ufo|ute)", first)
    return f"{'an' if first[0] in 'aeiou' and not hard else 'a'} {phrase}"


def plural(phrase: str) -> str:
    """The plural of a countable phrase: "face with open mouth" to "faces with open mouth"."""
    head, tail = re.match(_HEAD, phrase).groups()
    *before, last = head.split()
    return " ".join((*before, plural_word(last))) + (tail or "")


def plural_word(word: str) -> str:
    """The plural of one noun."""
    for single, several in IRREGULAR.items():
        if word == single:
            return several
    if re.search(r"(s|x|z|ch|sh)$", word):
        return word + "es"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"


def counted(count: int, phrase: str) -> str:
    """ "one red apple" as "a red apple", and "two red apples"."""
    return article(phrase) if count == 1 else f"{NUMBERS[count]} {plural(phrase)}"
