"""Sentences that leave the machine: an error's text without the paths and addresses of this computer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

PATH: Final = re.compile(r"(?:[A-Za-z]:)?(?:[\\/][^\\/\s'\"<>|:;,()]+)+[\\/]?")
"""A run of path segments that begins with a slash, a backslash or a drive."""

ADDRESS: Final = re.compile(r"\b0x[0-9a-fA-F]{4,}\b")


def public(sentence: str, names: Mapping[str, str] | None = None) -> str:
    """A sentence as a stranger may read it.

    Args:
        sentence: The text of an error.
        names: What to call certain paths, such as the copy of an upload: path to the user's own word.

    Returns:
        The sentence with those paths replaced, any other absolute path cut to its last part, and no memory address.
    """
    for path, name in (names or {}).items():
        sentence = sentence.replace(path, name)
    sentence = PATH.sub(_last_part, sentence)
    return ADDRESS.sub("an object", sentence)


def _last_part(found: re.Match[str]) -> str:
    text = found.group()
    before = found.string[: found.start()]
    if before[-1:].isalnum():  # "text/picture", "1/2": a slash inside a word is no path
        return text
    return re.split(r"[\\/]", text.rstrip("\\/"))[-1]
