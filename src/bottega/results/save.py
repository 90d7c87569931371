"""Keeps a result in files. The extension of the path picks the form, and the recipe goes inside."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from bottega.errors import FileError, RequestError
from bottega.results.animation import ANIMATION_SUFFIXES, animation_bytes, animation_origin
from bottega.results.origin import Origin
from bottega.results.pictures import PICTURE_SUFFIXES, picture_bytes, picture_origin
from bottega.results.sheet import contact_sheet
from bottega.room import Result
from bottega.weights import write_bytes

ORIGIN_KEY = "bottega"
SUFFIXES = (*PICTURE_SUFFIXES, *ANIMATION_SUFFIXES, ".txt", ".json", ".npz")


@runtime_checkable
class _WithTexts(Protocol):
    def texts(self) -> tuple[str, ...] | None: ...


@runtime_checkable
class _WithRecord(Protocol):
    def record(self) -> Mapping[str, Any]: ...


@runtime_checkable
class _WithAnimation(Protocol):
    def animation(self) -> list[np.ndarray]: ...


@runtime_checkable
class _WithOrigin(Protocol):
    @property
    def origin(self) -> Origin | None: ...


def with_origin(result: Result, origin: Origin) -> Result:
    """The same result with its recipe. A result type is a dataclass with a field `origin: Origin | None`."""
    if not dataclasses.is_dataclass(result) or isinstance(result, type):
        raise TypeError(f"{type(result).__name__} is not a dataclass with a field `origin`")
    return dataclasses.replace(result, origin=origin)


def origin_of(result: Result) -> Origin | None:
    """The recipe that `with_origin` gave a result, or None."""
    return result.origin if isinstance(result, _WithOrigin) else None


def save(result: Result, path: str | Path, origin: Origin | None = None) -> list[Path]:
    """Writes a result.

    Args:
        result: What a system returned.
        path: `.png .webp .jpg` for pictures (numbered, with a sheet, when there are several), `.gif` for how a picture
            came about where a result knows it, `.txt` for words, `.json` for words with the recipe, `.npz` for the raw
            arrays of anything. A path without an extension, or a folder that exists, takes every item under a name of
            its own, and never overwrites another run's file.
        origin: The recipe to keep inside; None takes the result's own.

    Returns:
        The files written; the first is the one to look at.

    Raises:
        RequestError: This result cannot take that form.
        FileError: The path cannot be written.
    """
    path, origin = Path(path), origin or origin_of(result)
    if path.is_dir() or not path.suffix:
        return _save_folder(result, path, origin)
    return [_write(file, data) for file, data in _files(result, path, origin)]


def _files(result: Result, path: Path, origin: Origin | None) -> list[tuple[Path, bytes]]:
    """The files that a path with an extension stands for."""
    suffix, forms = path.suffix.lower(), forms_of(result)
    if suffix not in forms:
        raise RequestError.of("output", path.name, "a folder or end in " + ", ".join(forms))
    count = len(result.items())
    if suffix not in PICTURE_SUFFIXES or count == 1:
        only = 0 if count == 1 else None
        return [(path, file_bytes(result, suffix, origin if only is None else _at(origin, only), only))]
    numbered = [
        (path.with_name(f"{path.stem}-{index:02d}{path.suffix}"), file_bytes(result, suffix, origin, index))
        for index in range(count)
    ]
    return [(path, file_bytes(result, suffix, origin)), *numbered]


def file_bytes(result: Result, suffix: str, origin: Origin | None, index: int | None = None) -> bytes:
    """A result as one file's bytes; equal results give equal bytes.

    Args:
        result: The result.
        suffix: One of `forms_of(result)`.
        origin: The recipe to keep inside.
        index: The picture; None takes the recipe's index, and without one, the sheet of them all.
    """
    if suffix in PICTURE_SUFFIXES:
        return _picture_file(result, suffix, origin, index)
    if suffix in ANIMATION_SUFFIXES and isinstance(result, _WithAnimation):
        return animation_bytes(result.animation(), suffix, origin)
    if suffix == ".txt":
        return "".join(f"{line}\n" for line in _texts(result) or ()).encode()
    return json_bytes(result, origin) if suffix == ".json" else _npz_bytes(result, origin)


def _picture_file(result: Result, suffix: str, origin: Origin | None, index: int | None) -> bytes:
    """One picture of a result, or the sheet of them all."""
    pictures = [np.asarray(item) for item in result.items()]
    if index is not None:
        return picture_bytes(pictures[index], suffix, _at(origin, index))
    if origin is not None and origin.index is not None:
        return picture_bytes(pictures[origin.index], suffix, origin)
    labels = list(_texts(result) or [str(number) for number in range(1, len(pictures) + 1)])
    return picture_bytes(contact_sheet(pictures, labels), suffix, origin)


def forms_of(result: Result) -> tuple[str, ...]:
    """The extensions that a result can be written with."""
    pictures = PICTURE_SUFFIXES if _holds_pictures(result) else ()
    moving = ANIMATION_SUFFIXES if isinstance(result, _WithAnimation) else ()
    words = (".txt", ".json") if _texts(result) is not None else ()
    return (*pictures, *moving, *words, ".npz")


def _holds_pictures(result: Result) -> bool:
    items = result.items()
    return bool(items) and all(isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.ndim == 3 for x in items)


def _texts(result: Result) -> tuple[str, ...] | None:
    return result.texts() if isinstance(result, _WithTexts) else None


def _at(origin: Origin | None, index: int) -> Origin | None:
    return None if origin is None else dataclasses.replace(origin, index=index)


def _save_folder(result: Result, folder: Path, origin: Origin | None) -> list[Path]:
    written = []
    texts = _texts(result)
    if _holds_pictures(result):
        items = result.items()
        if len(items) > 1:
            written.append(_write_new(folder / f"sheet-{result.seed}.png", file_bytes(result, ".png", origin)))
        for index in range(len(items)):
            stem = slug(texts[index]) if texts else "picture"
            data = file_bytes(result, ".png", origin, index)
            written.append(_write_new(folder / f"{stem}-{result.seed}-{index:02d}.png", data))
    elif texts is not None:
        written.append(_write_new(folder / f"words-{result.seed}.json", json_bytes(result, origin)))
    else:
        written.append(_write_new(folder / f"arrays-{result.seed}.npz", _npz_bytes(result, origin)))
    return written


def slug(text: str, limit: int = 40) -> str:
    """A text as part of a file name: its words, lower case, joined by dashes; letters of any script stay."""
    words = "-".join(re.findall(r"\w+", text.lower()))
    return words[:limit].strip("-_") or "picture"


def json_bytes(result: Result, origin: Origin | None) -> bytes:
    """Words, one record each, and what else the result records, with the recipe. Equal results give equal bytes."""
    arrays = {name: array.tolist() for name, array in result.arrays().items() if array.dtype.kind == "U"}
    further = result.record() if isinstance(result, _WithRecord) else {}
    record = {
        **arrays,
        **further,
        "seed": result.seed,
        ORIGIN_KEY: None if origin is None else json.loads(origin.to_json()),
    }
    return (json.dumps(record, ensure_ascii=False, indent=2) + "\n").encode()


def _npz_bytes(result: Result, origin: Origin | None) -> bytes:
    arrays = dict(result.arrays())
    if origin is not None:
        arrays[ORIGIN_KEY] = np.array(origin.to_json(), dtype=np.str_)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> Path:
    write_bytes(path, data)
    return path


def _write_new(path: Path, data: bytes) -> Path:
    """Writes under this name, or the next free one; a file that already holds these bytes stays."""
    candidate, number = path, 1
    while candidate.exists() and candidate.read_bytes() != data:
        number += 1
        candidate = path.with_name(f"{path.stem}-v{number}{path.suffix}")
    return candidate if candidate.exists() else _write(candidate, data)


def read_origin(path: str | Path) -> Origin:
    """The recipe inside a file that `save` wrote.

    Args:
        path: A `.png .webp .jpg .gif .webm .json .npz` file.

    Raises:
        FileError: The file is missing or damaged, or holds no recipe.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path} is not a file; give a result of `bottega run`")
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        text = picture_origin(path)
    elif suffix in ANIMATION_SUFFIXES:
        text = animation_origin(path)
    elif suffix == ".npz":
        text = _npz_origin(path)
    elif suffix == ".json":
        text = _json_origin(path)
    else:
        raise FileError(f"{path} cannot hold a recipe; replay takes .png .webp .jpg .gif .webm .json and .npz")
    if text is None:
        raise FileError(f"{path} holds no recipe of bottega; only files that `bottega run` wrote can be replayed")
    return Origin.from_json(text, str(path))


def _npz_origin(path: Path) -> str | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return str(arrays[ORIGIN_KEY]) if ORIGIN_KEY in arrays.files else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FileError(f"{path} cannot be read as .npz ({error})") from error


def _json_origin(path: Path) -> str | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read as JSON ({error})") from error
    recipe = record.get(ORIGIN_KEY) if isinstance(record, dict) else None
    return None if recipe is None else json.dumps(recipe)
