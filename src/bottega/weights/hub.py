"""Weights by path or by hub id."""

from __future__ import annotations

import re
from pathlib import Path

import huggingface_hub

from bottega.errors import FileError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SAFE_PATTERNS = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model")
_PICKLE_PATTERNS = ("*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.ckpt")


def resolve(path_or_hub_id: str | Path, *, revision: str | None = None, pickles: bool = False) -> Path:
    """A local path for a path or a hub id such as "owner/name". What exists on disk comes first.

    Args:
        path_or_hub_id: An existing file or folder, or a hub id, which is downloaded once and then read from its cache.
        revision: The hub's branch, tag or commit.
        pickles: Whether to download pickle files too; only safetensors and text otherwise.

    Raises:
        FileError: Neither a path nor a hub id, or it cannot be downloaded (no network, no such name, no access).
    """
    path = Path(path_or_hub_id)
    if path.exists():
        return path
    text = str(path_or_hub_id)
    if not _HUB_ID.fullmatch(text):
        raise FileError(f"{text} does not exist, and it is not a hub id of the form owner/name")
    patterns = [*_SAFE_PATTERNS, *(_PICKLE_PATTERNS if pickles else ())]
    try:
        return Path(huggingface_hub.snapshot_download(text, revision=revision, allow_patterns=patterns))
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise FileError(
            f"{text} is not on this machine and cannot be downloaded from the hub ({reason}); "
            "check the name and the network, or give the path of a local copy"
        ) from error
