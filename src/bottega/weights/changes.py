"""Two-way changes of one tensor between a published layout and ours. A rule of a key table carries one."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Protocol

import torch
from torch import Tensor

from bottega.errors import WeightsError


class Change(Protocol):
    """A change with its inverse. Both raise `WeightsError` for a shape that they cannot take."""

    def to_ours(self, tensor: Tensor) -> Tensor:
        """Our tensor for theirs."""
        ...

    def to_theirs(self, tensor: Tensor) -> Tensor:
        """Their tensor for ours."""
        ...


@dataclass(frozen=True, slots=True)
class Same:
    """No change."""

    def to_ours(self, tensor: Tensor) -> Tensor:
        """Our tensor for theirs."""
        return tensor

    def to_theirs(self, tensor: Tensor) -> Tensor:
        """Their tensor for ours."""
        return tensor


@dataclass(frozen=True, slots=True)
class Transpose:
    """Exchanges two dimensions (GPT-2's `Conv1D` against a linear layer, say)."""

    first: int = 0
    second: int = 1

    def to_ours(self, tensor: Tensor) -> Tensor:
        """Our tensor for theirs."""
        if tensor.dim() <= max(self.first, self.second):
            raise WeightsError(f"shape {tuple(tensor.shape)} has no dimensions {self.first} and {self.second}")
        return tensor.transpose(self.first, self.second).contiguous()

    def to_theirs(self, tensor: Tensor) -> Tensor:
        """Their tensor for ours."""
        return self.to_ours(tensor)


@dataclass(frozen=True, slots=True)
class Permute:
    """Reorders dimensions: ours is `theirs.permute(order)`."""

    order: tuple[int, ...]

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.order))):
            raise ValueError(f"{self.order} is not an order of dimensions")

    def to_ours(self, tensor: Tensor) -> Tensor:
        """Our tensor for theirs."""
        if tensor.dim() != len(self.order):
            raise WeightsError(f"shape {tuple(tensor.shape)} must have {len(self.order)} dimensions")
        return tensor.permute(self.order).contiguous()

    def to_theirs(self, tensor: Tensor) -> Tensor:
        """Their tensor for ours."""
        inverse = tuple(self.order.index(dim) for dim in range(len(self.order)))
        return Permute(inverse).to_ours(tensor)


@dataclass(frozen=True, slots=True)
class Reshape:
    """The same numbers in another shape. One size of each shape may be -1.

    Args:
        ours: Our shape.
        theirs: Their shape.
    """

    ours: tuple[int, ...]
    theirs: tuple[int, ...]

    def to_ours(self, tensor: Tensor) -> Tensor:
        """Our tensor for theirs."""
        return _reshaped(tensor, self.theirs, self.ours)

    def to_theirs(self, tensor: Tensor) -> Tensor:
        """Their tensor for ours."""
        return _reshaped(tensor, self.ours, self.theirs)


@dataclass(frozen=True, slots=True)
class ConvAsLinear:
    """Theirs is the weight of a convolution with kernel 1, ours of a linear layer.

    Args:
        spatial_dims: 1, 2 or 3.
    """

    spatial_dims: int = 2

    def to_ours(self, tensor: Tensor) -> Tensor:
        """Our tensor for theirs."""
        ones = (1,) * self.spatial_dims
        if tensor.dim() != 2 + self.spatial_dims or tuple(tensor.shape[2:]) != ones:
            raise WeightsError(f"shape {tuple(tensor.shape)} is not (out, in, {', '.join('1' for _ in ones)})")
        return tensor.reshape(tensor.shape[:2])

    def to_theirs(self, tensor: Tensor) -> Tensor:
        """Their tensor for ours."""
        if tensor.dim() != 2:
            raise WeightsError(f"shape {tuple(tensor.shape)} is not that of a linear layer's weight (out, in)")
        return tensor.reshape(*tensor.shape, *(1,) * self.spatial_dims)


@dataclass(frozen=True, slots=True)
class LinearAsConv:
    """Theirs is the weight of a linear layer, ours of a convolution with kernel 1.

    Args:
        spatial_dims: 1, 2 or 3.
    """

    spatial_dims: int = 2

    def to_ours(self, tensor: Tensor) -> Tensor:
        """Our tensor for theirs."""
        return ConvAsLinear(self.spatial_dims).to_theirs(tensor)

    def to_theirs(self, tensor: Tensor) -> Tensor:
        """Their tensor for ours."""
        return ConvAsLinear(self.spatial_dims).to_ours(tensor)


@dataclass(frozen=True, slots=True)
class Reorder:
    """Equal blocks along one dimension in another order: our block `n` is their block `order[n]`.

    Args:
        order: For each of our blocks, which of theirs it is. (1, 0) swaps "scale, shift" with "shift, scale".
        dim: The dimension that is made of `len(order)` equal blocks.
    """

    order: tuple[int, ...]
    dim: int = 0

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.order))):
            raise ValueError(f"{self.order} is not an order of blocks")

    def to_ours(self, tensor: Tensor) -> Tensor:
        """Our tensor for theirs."""
        if tensor.dim() <= self.dim or tensor.shape[self.dim] % len(self.order):
            raise WeightsError(
                f"shape {tuple(tensor.shape)} has no {len(self.order)} equal blocks along dimension {self.dim}"
            )
        blocks = tensor.chunk(len(self.order), dim=self.dim)
        return torch.cat([blocks[index] for index in self.order], dim=self.dim)

    def to_theirs(self, tensor: Tensor) -> Tensor:
        """Their tensor for ours."""
        inverse = tuple(self.order.index(block) for block in range(len(self.order)))
        return Reorder(inverse, self.dim).to_ours(tensor)


@dataclass(frozen=True, slots=True)
class PairsAsHalves:
    """Rows of rotary heads: theirs turns channels 2 i and 2 i + 1 of a head together, ours i and i + head_dim / 2.

    Args:
        head_dim: Rows of a head, even.
    """

    head_dim: int

    def to_ours(self, tensor: Tensor) -> Tensor:
        """Our tensor for theirs."""
        return self._swap(tensor, self.head_dim // 2, 2)

    def to_theirs(self, tensor: Tensor) -> Tensor:
        """Their tensor for ours."""
        return self._swap(tensor, 2, self.head_dim // 2)

    def _swap(self, tensor: Tensor, outer: int, inner: int) -> Tensor:
        if tensor.dim() == 0 or tensor.shape[0] % self.head_dim:
            raise WeightsError(f"shape {tuple(tensor.shape)} has no heads of {self.head_dim} rows")
        return tensor.unflatten(0, (-1, outer, inner)).transpose(1, 2).reshape(tensor.shape)


def _reshaped(tensor: Tensor, source: tuple[int, ...], target: tuple[int, ...]) -> Tensor:
    fits = tensor.dim() == len(source) and all(
        size in (-1, actual) for size, actual in zip(source, tensor.shape, strict=True)
    )
    known = prod(size for size in target if size != -1)
    if not fits or (tensor.numel() % known if -1 in target else tensor.numel() != known):
        raise WeightsError(f"shape {tuple(tensor.shape)} cannot be read as {source} and reshaped to {target}")
    return tensor.reshape(target)
