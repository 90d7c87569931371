"""Our own checkpoint: one safetensors file that carries its configuration and its text assets in the header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from bottega.errors import BottegaError, FileError, WeightsError
from bottega.weights.configs import decode_config, encode_config
from bottega.weights.files import read_metadata, read_tensors, write_tensors

Config = TypeVar("Config")

LAYOUT = "1"


@dataclass(frozen=True, kw_only=True, slots=True)
class NativeWeights(Generic[Config]):
    """What a file of ours holds.

    Args:
        config: The system's configuration, which the tensors fit.
        tensors: Parameters and buffers by our names.
        assets: Text files that belong to the weights, by name.
    """

    config: Config
    tensors: dict[str, Tensor]
    assets: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class NativeHeader:
    """What a file of ours says about itself before any tensor is read.

    Args:
        system: The id of the system it belongs to.
        config: The configuration as JSON.
        assets: Text files by name.
    """

    system: str
    config: dict[str, Any]
    assets: dict[str, str]


def save_native(path: Path, weights: NativeWeights[Any], *, system_id: str, dtype: torch.dtype | None = None) -> None:
    """Writes our own checkpoint, atomically and with the same bytes for the same content.

    Args:
        path: The file, ending in `.safetensors`.
        weights: Configuration, tensors and assets.
        system_id: The catalogue id of the system.
        dtype: Converts every real-valued tensor (bundled weights are `torch.float16`); None keeps them.

    Raises:
        FileError: The file cannot be written; an older one stays.
        WeightsError: A value too large for `dtype`.
    """
    tensors = weights.tensors
    if dtype is not None:
        tensors = {key: _converted(key, tensor, dtype) for key, tensor in tensors.items()}
    metadata = {
        "bottega": LAYOUT,
        "system": system_id,
        "config": json.dumps(encode_config(weights.config), ensure_ascii=False),
        "assets": json.dumps(weights.assets, ensure_ascii=False, sort_keys=True),
    }
    write_tensors(path, tensors, metadata)


def read_native_header(path: Path) -> NativeHeader:
    """Reads what a file of ours says about itself.

    Raises:
        FileError: Not a file of ours, damaged, or written by a later bottega.
    """
    metadata = read_metadata(path)
    layout = metadata.get("bottega")
    if layout is None:
        raise FileError(f"{path} was not written by bottega; name the format it has, to read it")
    if layout != LAYOUT:
        raise FileError(f"{path} has bottega's layout {layout!r}, but this version reads {LAYOUT!r}; update bottega")
    config, assets = _json_object(path, metadata, "config"), _json_object(path, metadata, "assets")
    if "system" not in metadata or not all(isinstance(text, str) for text in assets.values()):
        raise FileError(f"{path} is damaged: its header lacks the system or holds assets that are not text")
    return NativeHeader(system=metadata["system"], config=config, assets=assets)


def load_native(path: Path, config_type: type[Config], system_id: str) -> NativeWeights[Config]:
    """Reads our own checkpoint.

    Args:
        path: A file that `save_native` wrote.
        config_type: The system's configuration dataclass.
        system_id: The catalogue id of the system that will use it.

    Raises:
        FileError: Not a file of ours, or damaged.
        WeightsError: It belongs to another system, or its configuration does not fit this version's dataclass.
    """
    header = read_native_header(path)
    if header.system != system_id:
        raise WeightsError(f"{path} holds weights of {header.system!r}, not of {system_id!r}; load it there")
    try:
        config = decode_config(config_type, header.config)
    except BottegaError as error:
        raise WeightsError(f"{path} has a configuration that does not fit {system_id!r}: {error}") from error
    return NativeWeights(config=config, tensors=read_tensors(path), assets=header.assets)


def weights_hash(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal.

    Raises:
        FileError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}; check the path") from error


def _converted(key: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A real-valued tensor in another dtype, provided that it can hold the values."""
    if not tensor.is_floating_point():
        return tensor
    converted = tensor.to(dtype)
    if not torch.equal(converted.isfinite(), tensor.isfinite()):
        raise WeightsError(
            f"{key} has values up to {tensor.abs().max():.3g}, too large for {dtype}; keep its own dtype"
        )
    return converted


def _json_object(path: Path, metadata: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        data = json.loads(metadata.get(name, ""))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is damaged: {name} in its header is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise FileError(f"{path} is damaged: {name} in its header is not a JSON object")
    return data
