"""Folders in the layout of the Hugging Face libraries: a JSON configuration beside weights, whole or in shards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from bottega.errors import FileError
from bottega.weights.atomic import write_text
from bottega.weights.files import read_json, read_tensors, write_tensors
from bottega.weights.keys import listed

WEIGHT_FILES = (
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors.index.json",
    "pytorch_model.bin",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.bin.index.json",
)

LARGEST_SHARD = 5_000_000_000
"""Most bytes of tensors in one file, as transformers writes them."""


def read_folder_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """Reads a folder's configuration: `config.json`, or another such as `model_index.json`.

    Raises:
        FileError: No such folder or file, or not a JSON object.
    """
    if not folder.is_dir():
        raise FileError(f"{folder} is not a folder; give the folder that holds {name}")
    if not (folder / name).is_file():
        raise FileError(f"{folder} has no {name}; it holds: {_content(folder)}")
    return read_json(folder / name)


def read_folder_tensors(folder: Path) -> dict[str, Tensor]:
    """Reads a folder's weights: the first of `WEIGHT_FILES` that is there.

    Raises:
        FileError: No such folder, no weights in it (the text lists what is there), or damaged weights.
    """
    if not folder.is_dir():
        raise FileError(f"{folder} is not a folder; give the folder that holds the weights")
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return read_tensors(folder / name)
    raise FileError(f"{folder} has none of {', '.join(WEIGHT_FILES)}; it holds: {_content(folder)}")


def first_file(folder: Path, names: Sequence[str]) -> Path:
    """The first of these files that lies in a folder.

    Raises:
        FileError: None of them does.
    """
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise FileError(f"{folder} holds none of {', '.join(names)}; copy the published file there under that name")
    return found


def write_folder(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    name: str = "model.safetensors",
    largest: int = LARGEST_SHARD,
) -> None:
    """Writes a folder that the Hugging Face libraries open: `config.json` and safetensors, in shards where it is large.

    Args:
        folder: Made when it is missing.
        config: What `config.json` holds, in their words.
        tensors: By their names.
        name: `model.safetensors` (transformers) or `diffusion_pytorch_model.safetensors` (diffusers).
        largest: Most bytes of a file's tensors; one tensor alone may have more.

    Raises:
        FileError: A file cannot be written, or the folder holds weights in the other form already.
    """
    shards, index = _shards(tensors, largest), folder / f"{name}.index.json"
    other = folder / name if len(shards) > 1 else index
    if other.is_file():
        raise FileError(f"{other} is there already and would be read instead; write to an empty folder")
    if len(shards) == 1:
        write_tensors(folder / name, tensors, {"format": "pt"})
    else:
        stem = name.removesuffix(".safetensors")
        files = {f"{stem}-{n:05}-of-{len(shards):05}.safetensors": keys for n, keys in enumerate(shards, 1)}
        for file, keys in files.items():
            write_tensors(folder / file, {key: tensors[key] for key in keys}, {"format": "pt"})
        total = sum(_bytes(tensor) for tensor in tensors.values())
        places = {key: file for file, keys in files.items() for key in keys}
        write_text(index, json.dumps({"metadata": {"total_size": total}, "weight_map": places}, indent=2) + "\n")
    write_text(folder / "config.json", json.dumps(dict(config), indent=2, ensure_ascii=False) + "\n")


def _shards(tensors: Mapping[str, Tensor], largest: int) -> list[list[str]]:
    """The names, in order, in groups of at most `largest` bytes."""
    groups: list[list[str]] = [[]]
    held = 0
    for key, tensor in tensors.items():
        if groups[-1] and held + _bytes(tensor) > largest:
            groups.append([])
            held = 0
        groups[-1].append(key)
        held += _bytes(tensor)
    return groups


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _content(folder: Path) -> str:
    return listed(sorted(entry.name for entry in folder.iterdir())) or "nothing"
