"""Conditions of any structure by their rows: a tensor, or a tuple, list or mapping of conditions, or None."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def leaves(cond: Any) -> list[Tensor]:
    """The tensors of a condition, in order."""
    if isinstance(cond, Tensor):
        return [cond]
    if isinstance(cond, Mapping):
        return [leaf for part in cond.values() for leaf in leaves(part)]
    if isinstance(cond, tuple | list):
        return [leaf for part in cond for leaf in leaves(part)]
    return []


def map_rows(change: Callable[..., Tensor], cond: Any, *others: Any) -> Any:
    """A condition of the same structure, its tensors made from those of one or more conditions of that structure."""
    if isinstance(cond, Tensor):
        return change(cond, *others)
    if isinstance(cond, Mapping):
        return {name: map_rows(change, part, *(other[name] for other in others)) for name, part in cond.items()}
    if isinstance(cond, tuple | list):
        return tuple(map_rows(change, *parts) for parts in zip(cond, *others, strict=True))
    return cond


def choose_rows(mask: Tensor, new: Any, old: Any) -> Any:
    """Rows of `new` where the mask `(b,)` holds, of `old` elsewhere."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a.to(b), b)

    return map_rows(pick, new, old)
