"""Where captions come from: a jsonl file, a sidecar text, a JSON record, or the name of the picture itself."""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath
from typing import Final

from bottega.errors import FileError

# What cameras and people put before a number; such a name says nothing about the picture.
_EMPTY_NAMES: Final = {"img", "image", "dsc", "dscn", "dscf", "dscim", "pxl", "photo", "picture", "pic", "screenshot"}


def tidy(text: str) -> str:
    """Text with runs of white space, line ends included, as single spaces."""
    return " ".join(text.split())


def caption_from_text(data: bytes) -> str:
    """The caption in a sidecar `.txt`.

    Raises:
        FileError: The bytes are not UTF-8.
    """
    try:
        return tidy(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise FileError(
            f"the caption is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error


def caption_from_json(data: bytes | str) -> tuple[str | None, str]:
    """The `file_name` (None when absent) and the caption (`text` or `caption`) of one JSON record.

    Raises:
        FileError: Not a JSON object, or without a caption.
    """
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FileError(f"it is not JSON ({error})") from error
    if not isinstance(record, dict):
        raise FileError(f"it is a JSON {type(record).__name__}, but must be an object with text or caption")
    caption = record.get("text", record.get("caption"))
    if not isinstance(caption, str):
        raise FileError(f"it has the fields {sorted(record)}, but needs text or caption as a string")
    file_name = record.get("file_name")
    return (file_name if isinstance(file_name, str) else None), tidy(caption)


def caption_from_name(path: PurePosixPath) -> str:
    """The words in a picture's own name, or else in its folder's: "red_apple-03.jpg" and "red apple/03.jpg" alike.

    Args:
        path: Relative to the folder that was opened, so that the user's own folders say nothing.

    Returns:
        The words, or "" when there are none ("IMG_2041.jpg").
    """
    return _words(path.stem) or _words(path.parent.name)


def _words(name: str) -> str:
    spaced = re.sub(r"[\s_\-.+]+", " ", name).strip()
    words = re.sub(r"( ?\(?\d+\)?)+$", "", spaced).strip()
    return "" if words.lower() in _EMPTY_NAMES else words
