"""Checkpoints that survive being killed at any moment, and that execute nothing when read.

A checkpoint is a folder `step-000123` of safetensors files, `state.json` and `manifest.json` with the SHA-256 of each.
It is written under a temporary name, forced to the disk, and renamed: a folder with the final name is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bottega.errors import FileError

MANIFEST = "manifest.json"
STATE = "state.json"
_NAME = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What a checkpoint holds.

    Args:
        step: Updates done.
        tensors: Files by name without extension ("model", "ema", "optimizer"), each tensors by name.
        record: Everything else, as JSON values.
    """

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    record: Mapping[str, Any]


def save_checkpoint(folder: Path, snapshot: Snapshot, keep: int) -> Path:
    """Writes a checkpoint and removes the oldest ones beyond `keep`.

    Args:
        folder: The run's folder.
        snapshot: What to write.
        keep: Newest checkpoints that stay.

    Returns:
        The checkpoint's folder.

    Raises:
        FileError: If the disk is full or cannot be written; earlier checkpoints are untouched.
    """
    target = folder / f"step-{snapshot.step:06d}"
    temporary = folder / f".{target.name}.tmp"
    try:
        _write(temporary, snapshot)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
        _sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise FileError(
            f"{target} could not be written ({error}); free some disk space or choose another folder, then start the "
            f"same command again: it goes on from the last complete checkpoint"
        ) from error
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def load_newest(folder: Path) -> tuple[Snapshot | None, list[str]]:
    """The newest checkpoint whose files are as they were written.

    Args:
        folder: The run's folder; it may be missing.

    Returns:
        The snapshot, or None when there is no checkpoint at all; and one warning for every damaged one passed over.

    Raises:
        FileError: If there are checkpoints and all of them are damaged.
    """
    warnings: list[str] = []
    found = list_checkpoints(folder)
    for path in reversed(found):
        try:
            return load_checkpoint(path), warnings
        except FileError as error:
            warnings.append(str(error))
    if found:
        raise FileError(f"every checkpoint in {folder} is damaged: {'; '.join(warnings)}; choose another folder")
    return None, warnings


def load_checkpoint(path: Path) -> Snapshot:
    """Reads one checkpoint after comparing every file with the manifest.

    Raises:
        FileError: If a file is missing, cut short or changed.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        for name, digest in manifest["sha256"].items():
            if Path(name).name != name:
                raise FileError(f"{path / MANIFEST} names {name!r}, which is not a file beside it")
            if _digest(path / name) != digest:
                raise FileError(f"{path / name} is not what was written there")
        record = json.loads((path / STATE).read_text("utf-8"))
        names = [Path(name) for name in manifest["sha256"] if name != STATE]
        tensors = {name.stem: load_file(path / name) for name in names}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise FileError(f"{path} is no complete checkpoint ({error})") from error
    return Snapshot(step=record["step"], tensors=tensors, record=record)


def list_checkpoints(folder: Path) -> list[Path]:
    """The run's checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def remove_unfinished(folder: Path) -> None:
    """Removes what an interrupted `save_checkpoint` left."""
    for path in folder.glob(".step-*.tmp"):
        shutil.rmtree(path)


def write_text(path: Path, text: str) -> None:
    """Replaces a small text file in one go: temporary file, fsync, rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, "utf-8")
    _sync(temporary)
    temporary.rename(path)
    _sync(path.parent)


def _write(folder: Path, snapshot: Snapshot) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = []
    for name, tensors in snapshot.tensors.items():
        names.append(f"{name}.safetensors")
        save_file(_unshared(tensors), folder / names[-1])
    names.append(STATE)
    record = {"step": snapshot.step, **snapshot.record}
    (folder / STATE).write_text(json.dumps(record, indent=1, sort_keys=True), "utf-8")
    for name in names:
        _sync(folder / name)
    manifest = {"sha256": {name: _digest(folder / name) for name in names}}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
    _sync(folder / MANIFEST)
    _sync(folder)


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, contiguous, each with memory of its own: safetensors refuses shared memory."""
    seen: set[int] = set()
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        ready = tensor.detach().cpu().contiguous()
        storage = ready.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != ready.nbytes:
            ready = ready.clone()
        seen.add(ready.untyped_storage().data_ptr())
        own[name] = ready
    return own


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
