"""The rules of a key table: how tensors of a published checkpoint and ours correspond, in both directions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bottega.errors import WeightsError
from bottega.weights.changes import Change, Same

Make = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]

WILDCARD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Rename:
    """One of their tensors is one of ours.

    Args:
        ours: Our key pattern.
        theirs: Their key pattern, with the same wildcards.
        change: How the tensor itself differs, such as `Transpose()`.
    """

    ours: str
    theirs: str
    change: Change = field(default=Same(), kw_only=True)

    def __post_init__(self) -> None:
        _require_same_wildcards(self.ours, self.theirs)

    @property
    def our_patterns(self) -> tuple[str, ...]:
        """The keys of one match on our side."""
        return (self.ours,)

    @property
    def their_patterns(self) -> tuple[str, ...]:
        """The keys of one match on their side."""
        return (self.theirs,)

    def to_ours(self, theirs: Sequence[Tensor]) -> list[Tensor]:
        """Our tensors of one match."""
        return [self.change.to_ours(theirs[0])]

    def to_theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        """Their tensors of one match."""
        return [self.change.to_theirs(ours[0])]


@dataclass(frozen=True, slots=True)
class Fuse:
    """Several of their tensors, concatenated, are one of ours.

    Args:
        ours: Our key pattern.
        theirs: Their key patterns in order of concatenation, each with the same wildcards as `ours`.
        dim: The dimension of ours along which they are concatenated.
        sizes: The size of each part along `dim`; None means equal parts.
        change: How each of their tensors differs from its part of ours; a tuple has one change for each.
    """

    ours: str
    theirs: tuple[str, ...]
    dim: int = field(default=0, kw_only=True)
    sizes: tuple[int, ...] | None = field(default=None, kw_only=True)
    change: Change | tuple[Change, ...] = field(default=Same(), kw_only=True)

    def __post_init__(self) -> None:
        _require_same_wildcards(self.ours, *self.theirs)
        _require_parts(self.theirs, self.sizes)
        if isinstance(self.change, tuple) and len(self.change) != len(self.theirs):
            raise ValueError(f"{len(self.change)} changes for {len(self.theirs)} parts of {self.ours!r}")

    @property
    def changes(self) -> tuple[Change, ...]:
        """One change for each part."""
        return self.change if isinstance(self.change, tuple) else (self.change,) * len(self.theirs)

    @property
    def our_patterns(self) -> tuple[str, ...]:
        """The keys of one match on our side."""
        return (self.ours,)

    @property
    def their_patterns(self) -> tuple[str, ...]:
        """The keys of one match on their side."""
        return self.theirs

    def to_ours(self, theirs: Sequence[Tensor]) -> list[Tensor]:
        """Our tensors of one match."""
        parts = [change.to_ours(part) for change, part in zip(self.changes, theirs, strict=True)]
        return [_concatenate(parts, self.dim, self.sizes)]

    def to_theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        """Their tensors of one match."""
        parts = _cut(ours[0], self.dim, self.sizes, len(self.theirs))
        return [change.to_theirs(part) for change, part in zip(self.changes, parts, strict=True)]


@dataclass(frozen=True, slots=True)
class Split:
    """One of their tensors holds several of ours, concatenated.

    Args:
        ours: Our key patterns in order of concatenation, each with the same wildcards as `theirs`.
        theirs: Their key pattern.
        dim: The dimension of theirs (after `change`) along which ours are concatenated.
        sizes: The size of each part along `dim`; None means equal parts.
        change: How their whole tensor differs from the concatenation of ours.
    """

    ours: tuple[str, ...]
    theirs: str
    dim: int = field(default=0, kw_only=True)
    sizes: tuple[int, ...] | None = field(default=None, kw_only=True)
    change: Change = field(default=Same(), kw_only=True)

    def __post_init__(self) -> None:
        _require_same_wildcards(self.theirs, *self.ours)
        _require_parts(self.ours, self.sizes)

    @property
    def our_patterns(self) -> tuple[str, ...]:
        """The keys of one match on our side."""
        return self.ours

    @property
    def their_patterns(self) -> tuple[str, ...]:
        """The keys of one match on their side."""
        return (self.theirs,)

    def to_ours(self, theirs: Sequence[Tensor]) -> list[Tensor]:
        """Our tensors of one match."""
        return _cut(self.change.to_ours(theirs[0]), self.dim, self.sizes, len(self.ours))

    def to_theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        """Their tensors of one match."""
        return [self.change.to_theirs(_concatenate(ours, self.dim, self.sizes))]


@dataclass(frozen=True, slots=True)
class Drop:
    """A tensor of theirs that we have no use for.

    Args:
        theirs: Their key pattern.
        why: Why nothing is lost, in a few words.
        make: Makes the tensors again from ours (all of them, by our names) when we write their layout; the names must
            match `theirs`. None: they are not written.
        optional: Whether a file may lack it (published versions differ in constants such as `position_ids`).
    """

    theirs: str
    why: str
    make: Make | None = field(default=None, kw_only=True)
    optional: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if not self.why.strip():
            raise ValueError(f"Drop({self.theirs!r}) needs a reason")


Rule = Rename | Fuse | Split | Drop
KeyTable = tuple[Rule, ...]


def _require_same_wildcards(first: str, *others: str) -> None:
    wildcards = set(WILDCARD.findall(first))
    if any(set(WILDCARD.findall(other)) != wildcards for other in others):
        raise ValueError(f"a rule's patterns must have the same wildcards, but {(first, *others)} do not")
    if len(set(others)) != len(others):
        raise ValueError(f"a rule names one pattern twice: {others}")


def _require_parts(patterns: tuple[str, ...], sizes: tuple[int, ...] | None) -> None:
    if len(patterns) <= 1:
        raise ValueError(f"a rule that fuses or splits needs two or more patterns, not {patterns}")
    if sizes is not None and (len(sizes) != len(patterns) or min(sizes) < 1):
        raise ValueError(f"sizes {sizes} must be {len(patterns)} positive numbers, one for each of {patterns}")


def _cut(whole: Tensor, dim: int, sizes: tuple[int, ...] | None, count: int) -> list[Tensor]:
    """The inverse of `_concatenate`: `count` parts along a dimension, equal or of the given sizes."""
    shape = tuple(whole.shape)
    if not -whole.dim() <= dim < whole.dim():
        raise WeightsError(f"shape {shape} has no dimension {dim} to be cut along")
    length = shape[dim]
    if sizes is None and length % count:
        raise WeightsError(f"shape {shape} cannot be cut along dimension {dim} into {count} equal parts")
    if sizes is not None and sum(sizes) != length:
        raise WeightsError(f"shape {shape} cannot be cut along dimension {dim} into parts of {sizes}")
    return list(whole.split(sizes or length // count, dim=dim)) if length else [whole.clone() for _ in range(count)]


def _concatenate(parts: Sequence[Tensor], dim: int, sizes: tuple[int, ...] | None) -> Tensor:
    """Concatenates parts that have exactly the sizes which `_cut` would give them."""
    shapes = [tuple(part.shape) for part in parts]
    if len({len(shape) for shape in shapes}) > 1 or not -len(shapes[0]) <= dim < len(shapes[0]):
        raise WeightsError(f"shapes {shapes} cannot be concatenated along dimension {dim}")
    lengths = tuple(shape[dim] for shape in shapes)
    axis = dim % len(shapes[0])
    across = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
    expected = sizes or (lengths[0],) * len(lengths)
    if lengths != expected or len(across) > 1:
        raise WeightsError(f"shapes {shapes} must agree, and have sizes {expected} along dimension {dim}")
    if len({part.dtype for part in parts}) > 1:
        raise WeightsError(f"parts of different dtypes cannot be concatenated: {[part.dtype for part in parts]}")
    return torch.cat(list(parts), dim=dim)
