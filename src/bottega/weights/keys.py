"""Key tables: one tuple of rules that maps a published checkpoint's tensors to ours, and ours back to theirs.

A pattern is a dotted key with wildcards in braces. A one-letter wildcard (`{i}`, `{j}`) stands for an integer; a longer
one (`{rest}`) stands for one or more whole dotted parts. Both sides of a rule name the same wildcards:

    TABLE: KeyTable = (
        Rename("blocks.{i}.norm.{rest}", "transformer.{i}.ln_1.{rest}"),
        Fuse("blocks.{i}.qkv.weight", ("transformer.{i}.q.weight", "transformer.{i}.k.weight", "transformer.{i}.v.weight")),
        Drop("position_ids", "a constant that our model computes"),
    )

A tensor that no rule maps, that two rules map, or a rule that matches nothing is an error, in both directions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from torch import Tensor

from bottega.errors import WeightsError
from bottega.weights.changes import Change, Same

Make = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]

_WILDCARD = re.compile(r"\{(\w+)\}")
_SHOWN = 4


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
        _require_same_wildcards((self.ours, self.theirs))


@dataclass(frozen=True, slots=True)
class Fuse:
    """Several of their tensors, concatenated, are one of ours.

    Args:
        ours: Our key pattern.
        theirs: Their key patterns in order of concatenation, each with the same wildcards as `ours`.
        dim: The dimension of ours along which they are concatenated.
        sizes: The size of each part along `dim`; None means equal parts.
        change: How each of their tensors differs from its part of ours.
    """

    ours: str
    theirs: tuple[str, ...]
    dim: int = field(default=0, kw_only=True)
    sizes: tuple[int, ...] | None = field(default=None, kw_only=True)
    change: Change = field(default=Same(), kw_only=True)

    def __post_init__(self) -> None:
        _require_same_wildcards((self.ours, *self.theirs))
        _require_parts(self.theirs, self.sizes)


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
        _require_same_wildcards((self.theirs, *self.ours))
        _require_parts(self.ours, self.sizes)


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


def to_ours(table: KeyTable, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Maps a published checkpoint to our names.

    Raises:
        WeightsError: A key that no rule or two rules match, a part of a `Fuse` that is missing, a rule that matches
            nothing, two tensors for one name, or a tensor whose shape a rule cannot take.
    """
    mapping = _Mapping(theirs, "their")
    for rule in table:
        match rule:
            case Rename(ours, pattern):
                for names in mapping.take((pattern,)):
                    (key,) = _keys((pattern,), names)
                    mapping.put(_fill(ours, names), _apply(rule.change.to_ours, key, theirs[key]))
            case Fuse(ours, patterns):
                for names in mapping.take(patterns):
                    keys = _keys(patterns, names)
                    parts = [_apply(rule.change.to_ours, key, theirs[key]) for key in keys]
                    mapping.put(_fill(ours, names), _cat(keys, parts, rule))
            case Split(patterns, pattern):
                for names in mapping.take((pattern,)):
                    (key,) = _keys((pattern,), names)
                    parts = _parts(key, _apply(rule.change.to_ours, key, theirs[key]), rule, len(patterns))
                    mapping.put_all(_keys(patterns, names), parts)
            case Drop(pattern):
                mapping.take((pattern,), optional=rule.optional)
    return mapping.finish()


def to_theirs(table: KeyTable, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Maps our tensors to a published layout: the inverse of `to_ours` with the same table.

    Raises:
        WeightsError: As `to_ours`.
    """
    mapping = _Mapping(ours, "our")
    for rule in table:
        match rule:
            case Rename(pattern, theirs):
                for names in mapping.take((pattern,)):
                    (key,) = _keys((pattern,), names)
                    mapping.put(_fill(theirs, names), _apply(rule.change.to_theirs, key, ours[key]))
            case Fuse(pattern, patterns):
                for names in mapping.take((pattern,)):
                    (key,) = _keys((pattern,), names)
                    parts = _parts(key, ours[key], rule, len(patterns))
                    mapping.put_all(_keys(patterns, names), [_apply(rule.change.to_theirs, key, p) for p in parts])
            case Split(patterns, theirs):
                for names in mapping.take(patterns):
                    keys = _keys(patterns, names)
                    whole = _cat(keys, [ours[key] for key in keys], rule)
                    mapping.put(_fill(theirs, names), _apply(rule.change.to_theirs, keys[0], whole))
            case Drop(pattern, make=make) if make is not None:
                for key, tensor in make(ours).items():
                    if _regex(pattern).fullmatch(key) is None:
                        raise WeightsError(f"the rule Drop({pattern!r}) made {key!r}, which its pattern does not match")
                    mapping.put(key, tensor)
            case Drop():
                pass
    return mapping.finish()


def nested(prefix_ours: str, prefix_theirs: str, table: KeyTable) -> KeyTable:
    """The table of a part, mounted inside a pipeline's table under a prefix on each side.

    Args:
        prefix_ours: Prefix of our keys without the closing dot; "" for none.
        prefix_theirs: Prefix of their keys without the closing dot; "" for none.
        table: The part's own table.
    """

    def ours(pattern: str) -> str:
        return f"{prefix_ours}.{pattern}" if prefix_ours else pattern

    def theirs(pattern: str) -> str:
        return f"{prefix_theirs}.{pattern}" if prefix_theirs else pattern

    def mount(rule: Rule) -> Rule:
        match rule:
            case Rename():
                return replace(rule, ours=ours(rule.ours), theirs=theirs(rule.theirs))
            case Fuse():
                return replace(rule, ours=ours(rule.ours), theirs=tuple(map(theirs, rule.theirs)))
            case Split():
                return replace(rule, ours=tuple(map(ours, rule.ours)), theirs=theirs(rule.theirs))
            case Drop(make=None):
                return replace(rule, theirs=theirs(rule.theirs))
            case Drop(make=make):
                return replace(rule, theirs=theirs(rule.theirs), make=_mounted(make, prefix_ours, prefix_theirs))

    return tuple(map(mount, table))


def add_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The same tensors under `prefix.key`."""
    return {f"{prefix}.{key}": tensor for key, tensor in tensors.items()}


def take_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those tensors whose key begins with `prefix.`, without it."""
    start = f"{prefix}."
    return {key.removeprefix(start): tensor for key, tensor in tensors.items() if key.startswith(start)}


def _mounted(make: Make, prefix_ours: str, prefix_theirs: str) -> Make:
    def mounted(ours: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        made = make(take_prefix(ours, prefix_ours) if prefix_ours else ours)
        return add_prefix(made, prefix_theirs) if prefix_theirs else made

    return mounted


Names = tuple[tuple[str, str], ...]


class _Mapping:
    """What was taken from the source and put into the result so far, and everything that went wrong."""

    def __init__(self, source: Mapping[str, Tensor], side: str) -> None:
        self._source = source
        self._side = side
        self._taken: set[str] = set()
        self._result: dict[str, Tensor] = {}
        self._twice: list[str] = []
        self._lone: list[str] = []
        self._idle: list[str] = []
        self._clashes: list[str] = []

    def take(self, patterns: tuple[str, ...], *, optional: bool = False) -> list[Names]:
        """The wildcard values under which every pattern has its key in the source, in the source's order."""
        found: dict[Names, set[str]] = {}
        for pattern in patterns:
            matched = [(key, match) for key in self._candidates(pattern) if (match := _regex(pattern).fullmatch(key))]
            if not matched and not optional:
                self._idle.append(pattern)
            for key, match in matched:
                if key in self._taken:
                    self._twice.append(key)
                self._taken.add(key)
                found.setdefault(tuple(sorted(match.groupdict().items())), set()).add(pattern)
        whole = [names for names, present in found.items() if len(present) == len(patterns)]
        for names, present in found.items():
            self._lone += [_fill(pattern, names) for pattern in patterns if pattern not in present and len(present)]
        return whole

    def put(self, key: str, tensor: Tensor) -> None:
        if key in self._result:
            self._clashes.append(key)
        self._result[key] = tensor

    def put_all(self, keys: Iterable[str], tensors: Iterable[Tensor]) -> None:
        for key, tensor in zip(keys, tensors, strict=True):
            self.put(key, tensor)

    def finish(self) -> dict[str, Tensor]:
        """The result, or one error that names everything that went wrong."""
        unmapped = [key for key in self._source if key not in self._taken]
        other = {"their": "our", "our": "their"}[self._side]
        problems = [
            (unmapped, f"{self._side} keys that no rule maps"),
            (self._twice, f"{self._side} keys that two rules map"),
            (self._lone, f"{self._side} keys missing beside their fused parts"),
            (self._idle, "rules that match nothing"),
            (self._clashes, f"{other} keys made twice"),
        ]
        texts = [f"{what}: {listed(keys)}" for keys, what in problems if keys]
        if texts:
            raise WeightsError(f"the weights do not fit the key table; {'; '.join(texts)}")
        return self._result

    def _candidates(self, pattern: str) -> Iterable[str]:
        if "{" in pattern:
            return self._source
        return (pattern,) if pattern in self._source else ()


def listed(keys: Iterable[str]) -> str:
    """The first few keys and how many there are: `a, b, c, d ... (17 in all)`."""
    keys = list(dict.fromkeys(keys))
    shown = ", ".join(keys[:_SHOWN])
    return shown if len(keys) <= _SHOWN else f"{shown} ... ({len(keys)} in all)"


@lru_cache(maxsize=4096)
def _regex(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression with one named group for each wildcard."""
    seen: set[str] = set()
    text = ""
    for index, piece in enumerate(_WILDCARD.split(pattern)):
        if index % 2 == 0:
            text += re.escape(piece)
        elif piece in seen:
            text += f"(?P={piece})"
        else:
            seen.add(piece)
            text += rf"(?P<{piece}>0|[1-9][0-9]*)" if len(piece) == 1 else rf"(?P<{piece}>[^.]+(?:\.[^.]+)*)"
    return re.compile(text)


def _fill(pattern: str, names: Names) -> str:
    values = dict(names)
    return _WILDCARD.sub(lambda match: values[match[1]], pattern)


def _keys(patterns: Iterable[str], names: Names) -> list[str]:
    return [_fill(pattern, names) for pattern in patterns]


def _require_same_wildcards(patterns: tuple[str, ...]) -> None:
    sets = [set(_WILDCARD.findall(pattern)) for pattern in patterns]
    if any(names != sets[0] for names in sets):
        raise ValueError(f"a rule's patterns must have the same wildcards, but {patterns} do not")
    if len(set(patterns[1:])) != len(patterns) - 1:
        raise ValueError(f"a rule names one pattern twice: {patterns[1:]}")


def _require_parts(patterns: tuple[str, ...], sizes: tuple[int, ...] | None) -> None:
    if len(patterns) < 2:
        raise ValueError(f"a rule that fuses or splits needs two or more patterns, not {patterns}")
    if sizes is not None and (len(sizes) != len(patterns) or min(sizes) < 1):
        raise ValueError(f"sizes {sizes} must be {len(patterns)} positive numbers, one for each of {patterns}")


def _apply(change: Callable[[Tensor], Tensor], key: str, tensor: Tensor) -> Tensor:
    try:
        return change(tensor)
    except WeightsError as error:
        raise WeightsError(f"{key}: {error}") from error


def _parts(key: str, whole: Tensor, rule: Fuse | Split, count: int) -> list[Tensor]:
    """Cuts a tensor along the rule's dimension into `count` parts."""
    if not -whole.dim() <= rule.dim < whole.dim():
        raise WeightsError(f"{key} has shape {tuple(whole.shape)}: it cannot be split along dimension {rule.dim}")
    length = whole.shape[rule.dim]
    if rule.sizes is None and length % count:
        raise WeightsError(f"{key} has shape {tuple(whole.shape)}: {length} does not divide into {count} equal parts")
    sizes = rule.sizes or (length // count,) * count
    if sum(sizes) != length:
        raise WeightsError(f"{key} has shape {tuple(whole.shape)}: {length} is not the sum of the parts {sizes}")
    return list(whole.split(list(sizes), dim=rule.dim))


def _cat(keys: list[str], parts: list[Tensor], rule: Fuse | Split) -> Tensor:
    """Concatenates parts, which must have exactly the sizes that `_parts` would cut."""
    shapes = {key: tuple(part.shape) for key, part in zip(keys, parts, strict=True)}
    if len({part.dim() for part in parts}) > 1 or not -parts[0].dim() <= rule.dim < parts[0].dim():
        raise WeightsError(f"cannot be concatenated along dimension {rule.dim}: {shapes}")
    sizes = tuple(part.shape[rule.dim] for part in parts)
    expected = rule.sizes or (sizes[0],) * len(sizes)
    across = {(part.shape[: rule.dim % part.dim()], part.shape[rule.dim % part.dim() + 1 :]) for part in parts}
    if sizes != expected or len(across) > 1 or len({part.dtype for part in parts}) > 1:
        raise WeightsError(f"parts must have sizes {expected} along dimension {rule.dim} and be alike, not {shapes}")
    return torch.cat(parts, dim=rule.dim)
