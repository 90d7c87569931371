"""How close captions are to what they should say."""

from __future__ import annotations

import re
import unicodedata


def keywords(text: str) -> frozenset[str]:
    """The words of a text, without case, punctuation and order."""
    return frozenset(_words(text))


def keyword_overlap(a: str, b: str) -> float:
    """Words in both captions over words in either (Jaccard index), in [0, 1]; 1 when neither has a word."""
    ours, theirs = keywords(a), keywords(b)
    return len(ours & theirs) / len(ours | theirs) if ours | theirs else 1.0


def exact_match(a: str, b: str) -> bool:
    """Whether two captions are the same words in the same order, whatever their case, spacing and punctuation."""
    return _words(a) == _words(b)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
