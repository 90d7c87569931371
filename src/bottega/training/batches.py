"""Batches as nested records: moving them to a device and cutting them into equal parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def to_device(batch: Any, device: torch.device) -> Any:  # noqa: ANN401 - a batch is the recipe's own type
    """The batch with every tensor on `device`."""

    def move(leaf: Any) -> Any:  # noqa: ANN401
        if isinstance(leaf, list):
            return [_map(item, move) for item in leaf]
        return leaf.to(device, non_blocking=True) if isinstance(leaf, Tensor) else leaf

    return _map(batch, move)


def split(batch: Any, parts: int) -> list[Any]:  # noqa: ANN401 - a batch is the recipe's own type
    """Equal parts of a batch along the samples.

    Tensors with dimensions and lists are cut along their first dimension; dicts, tuples and dataclasses are walked;
    anything else (numbers, strings, None) goes into each part.

    Raises:
        ValueError: If a length is no multiple of `parts`.
    """
    if parts == 1:
        return [batch]
    return [_map(batch, lambda leaf, part=part: _cut(leaf, part, parts)) for part in range(parts)]


def _cut(leaf: Any, part: int, parts: int) -> Any:  # noqa: ANN401
    if not isinstance(leaf, list) and not (isinstance(leaf, Tensor) and leaf.ndim > 0):
        return leaf
    if len(leaf) % parts:
        raise ValueError(f"a batch of {len(leaf)} samples cannot be cut into {parts} equal parts")
    size = len(leaf) // parts
    return leaf[part * size : (part + 1) * size]


def _map(batch: Any, change: Callable[[Any], Any]) -> Any:  # noqa: ANN401
    if isinstance(batch, Mapping):
        return {key: _map(value, change) for key, value in batch.items()}
    if isinstance(batch, tuple):
        values = [_map(value, change) for value in batch]
        return tuple(values) if type(batch) is tuple else type(batch)(*values)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        names = [field.name for field in dataclasses.fields(batch)]
        return dataclasses.replace(batch, **{name: _map(getattr(batch, name), change) for name in names})
    return change(batch)
