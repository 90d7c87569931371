"""The language reference that comes with Python, in pieces of a few paragraphs."""

from __future__ import annotations

from functools import cache
from pydoc_data.topics import topics
from typing import Final

from bottega.worlds.dice import Dice
from bottega.worlds.queries.passage import Draft

PIECE: Final = 1200  # letters after which a piece ends with its paragraph


@cache
def _pieces() -> tuple[tuple[str, str], ...]:
    """Every piece with the name of its page; a paragraph that stands on several pages belongs to the first."""
    found: list[tuple[str, str]] = []
    seen: set[str] = set()
    for page in sorted(topics):
        held: list[str] = []
        for paragraph in topics[page].strip().split("\n\n"):
            if paragraph.strip() in seen:
                continue
            seen.add(paragraph.strip())
            held.append(paragraph.rstrip())
            if sum(map(len, held)) >= PIECE:
                found.append((page, "\n\n".join(held)))
                held = []
        if held:
            found.append((page, "\n\n".join(held)))
    return tuple(found)


def docs(dice: Dice) -> Draft:
    """A piece of a page; all pieces of a page lie on the same side of the split."""
    page, piece = dice.pick(_pieces())
    return Draft(question=None, answer=piece, key=page)
