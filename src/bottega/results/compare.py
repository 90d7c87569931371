"""Whether a kept file is what its recipe makes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bottega.results.origin import Origin
from bottega.results.pictures import PICTURE_SUFFIXES, decode_picture
from bottega.results.save import ORIGIN_KEY, file_bytes, json_bytes
from bottega.room import Result


def difference(path: Path, result: Result, origin: Origin) -> str | None:
    """What differs between a file and a result that was made again; None when nothing does.

    Args:
        path: A file that `save` wrote.
        result: The result of the same request.
        origin: The recipe inside the file.

    Returns:
        A few words, such as "12 of 12288 pixel values differ, by at most 3"; None when every bit is equal.
    """
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        again = decode_picture(file_bytes(result, suffix, origin))
        return _array_difference("pixel values", decode_picture(path.read_bytes()), again)
    if suffix == ".npz":
        return _arrays_difference(path, result)
    kept, again = json.loads(path.read_text(encoding="utf-8")), json.loads(json_bytes(result, None))
    changed = [name for name, value in again.items() if name != ORIGIN_KEY and kept.get(name) != value]
    return f"other {' and '.join(changed)}" if changed else None


def _arrays_difference(path: Path, result: Result) -> str | None:
    with np.load(path, allow_pickle=False) as kept:
        for name, again in result.arrays().items():
            if name not in kept.files:
                return f"{name} is missing from the file"
            found = _array_difference(f"values of {name}", kept[name], again)
            if found:
                return found
    return None


def _array_difference(what: str, kept: np.ndarray, again: np.ndarray) -> str | None:
    if kept.shape != again.shape or kept.dtype != again.dtype:
        return f"{what} are {again.dtype} {again.shape}, not {kept.dtype} {kept.shape}"
    if kept.tobytes() == again.tobytes():
        return None
    changed = int((kept != again).sum())
    by = (
        f", by at most {np.abs(kept.astype(float) - again.astype(float)).max():.3g}" if kept.dtype.kind in "uif" else ""
    )
    return f"{changed} of {kept.size} {what} differ{by}"
