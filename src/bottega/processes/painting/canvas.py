"""The canvas of in-context painting: values that the network sees, and pictures one above the other.

Source: arXiv:2212.02499, section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's red, green and blue, from 0 to 1; pictures and targets are normalised alike."""


def _channels(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(3, 1, 1)


def to_paint(pictures: Tensor) -> Tensor:
    """Pictures `(..., 3, height, width)` in [0, 1] as the network sees them."""
    return (pictures - _channels(MEAN, pictures)) / _channels(STD, pictures)


def from_paint(paint: Tensor) -> Tensor:
    """The inverse of `to_paint`; not clamped."""
    return paint * _channels(STD, paint) + _channels(MEAN, paint)


def stacked(example: Tensor, query: Tensor) -> Tensor:
    """An example above a query: two `(..., height, width)` to `(..., 2 * height, width)`."""
    return torch.cat((example, query), dim=-2)


def unknown_half(rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """The mask of inference, bool `(1, 2 * rows, columns)` patches: the query's whole target is to be painted."""
    lower = torch.arange(2 * rows, device=device) >= rows
    return lower[None, :, None].expand(1, 2 * rows, columns)
