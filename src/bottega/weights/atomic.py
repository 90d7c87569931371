"""Files that are either whole or not there: temp file in the same folder, fsync, rename, fsync of the folder."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from bottega.errors import FileError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Writes a file so that a crash, a kill or a full disk leaves the old file (or none), never half of the new one.

    Args:
        path: The file to write; its folder is made when it is missing.
        write: Writes the whole content to the (existing, empty) temp file it is given.

    Raises:
        FileError: The file cannot be written: no space, no permission, a folder in the way.
    """
    temp = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        mode = temp.stat().st_mode
        try:
            write(temp)
            temp.chmod(mode)  # a library may have replaced the file by one that only its owner can read
            _sync(temp)
            os.replace(temp, path)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
        _sync(path.parent)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}; {_advice(error)}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path` atomically.

    Raises:
        FileError: As `write_atomically`.
    """
    write_atomically(path, lambda temp: _fill(temp, content))


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text to `path` atomically.

    Raises:
        FileError: As `write_atomically`.
    """
    write_bytes(path, text.encode("utf-8"))


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _sync(path: Path) -> None:
    """Makes a file's or folder's content durable. Windows cannot open a folder; there the rename itself is enough."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _advice(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "choose a folder that you may write to"
    if isinstance(error, (IsADirectoryError, NotADirectoryError, FileExistsError)):
        return "choose another name"
    return "free some space or choose another disk (an older file of this name is unchanged)"
