"""Questions about emoji: their names in several languages, their groups and the words that go with them."""

from __future__ import annotations

from functools import cache
from typing import Final

from bottega.worlds.dice import Dice
from bottega.worlds.emoji import Emoji, load_index, names
from bottega.worlds.english import article, listed
from bottega.worlds.queries.passage import Draft

LANGUAGES: Final = {"fr": "French", "de": "German", "es": "Spanish", "it": "Italian", "pt": "Portuguese"}


@cache
def _subjects() -> tuple[Emoji, ...]:
    """Emoji with short names and without skin tones."""
    return tuple(
        emoji for emoji in load_index() if not emoji.skin_tones and ":" not in emoji.name and len(emoji.name) < 24
    )


def facts(dice: Dice) -> Draft:
    """A name in a language (half), a group, or keywords."""
    emoji = dice.pick(_subjects())
    kind = dice.unit()
    if kind < 0.5:
        code = dice.pick(tuple(LANGUAGES))
        name = names(code)[emoji.id] or emoji.phrase
        wording = dice.pick(("What is {0} called in {1}?", "How do you say {0} in {1}?"))
        asked, answer = wording.format(emoji.characters, LANGUAGES[code]), f"In {LANGUAGES[code]}, {{0}} is {name}."
        answer = answer.format(f"{emoji.characters} ({emoji.phrase})")
        return Draft(question=asked, answer=answer, key=f"{emoji.name} {code}")
    if kind < 0.75 or not emoji.keywords:
        wording = dice.pick(("What is {0}?", "What does {0} show?", "Which group is {0} in?"))
        answer = f"{emoji.characters} is {article(emoji.phrase)}, in the group {emoji.group}, {emoji.subgroup}."
        return Draft(question=wording.format(emoji.characters), answer=answer, key=f"{emoji.name} group")
    wording = dice.pick(("Which words go with {0}?", "Say some words about {0}."))
    answer = f"Words for {emoji.characters} are {listed(emoji.keywords[:5])}."
    return Draft(question=wording.format(emoji.characters), answer=answer, key=f"{emoji.name} words")
