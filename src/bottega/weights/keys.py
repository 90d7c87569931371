"""Key tables: one tuple of rules that maps a published checkpoint's tensors to ours, and ours back to theirs.

A pattern is a dotted key with wildcards in braces. A one-letter wildcard (`{i}`, `{j}`) stands for an integer; a longer
one (`{rest}`) stands for one or more whole dotted parts. Both sides of a rule name the same wildcards:

    TABLE: KeyTable = (
        Rename("blocks.{i}.norm.{rest}", "h.{i}.ln_1.{rest}"),
        Fuse("blocks.{i}.qkv.weight", ("h.{i}.q.weight", "h.{i}.k.weight", "h.{i}.v.weight")),
        Drop("position_ids", "a constant that our model computes"),
    )

A tensor that no rule maps, that two rules map, or a rule that matches nothing is an error, in both directions.
Repetition that wildcards cannot say (reversed numbers, say) is said in Python: a table is only a tuple.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from torch import Tensor

from bottega.errors import WeightsError
from bottega.weights.rules import WILDCARD, Drop, Fuse, KeyTable, Make, Rename, Rule, Split

Values = tuple[tuple[str, str], ...]
"""What the wildcards of one match stand for: (wildcard, text) pairs, sorted."""

_SHOWN = 4


def to_ours(table: KeyTable, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Maps a published checkpoint to our names.

    Raises:
        WeightsError: A key that no rule or two rules match, a part of a `Fuse` that is missing, a rule that matches
            nothing, two tensors for one name, or a tensor whose shape a rule cannot take.
    """
    mapping = _Mapping(theirs, "their", "our")
    for rule in table:
        if isinstance(rule, Drop):
            mapping.take((rule.theirs,), optional=rule.optional)
        else:
            mapping.carry(rule.their_patterns, rule.our_patterns, rule.to_ours)
    return mapping.finish()


def to_theirs(table: KeyTable, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Maps our tensors to a published layout: the inverse of `to_ours` with the same table.

    Raises:
        WeightsError: As `to_ours`.
    """
    mapping = _Mapping(ours, "our", "their")
    for rule in table:
        if not isinstance(rule, Drop):
            mapping.carry(rule.our_patterns, rule.their_patterns, rule.to_theirs)
        elif rule.make is not None:
            made = rule.make(ours)
            strange = [key for key in made if _regex(rule.theirs).fullmatch(key) is None]
            if strange:
                raise WeightsError(
                    f"Drop({rule.theirs!r}) made keys that its pattern does not match: {listed(strange)}"
                )
            mapping.put(made.keys(), made.values())
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
            case Drop():
                make = None if rule.make is None else _mounted(rule.make, prefix_ours, prefix_theirs)
                return replace(rule, theirs=theirs(rule.theirs), make=make)

    return tuple(map(mount, table))


def add_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The same tensors under `prefix.key`."""
    return {f"{prefix}.{key}": tensor for key, tensor in tensors.items()}


def take_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those tensors whose key begins with `prefix.`, without it."""
    start = f"{prefix}."
    return {key.removeprefix(start): tensor for key, tensor in tensors.items() if key.startswith(start)}


def listed(keys: Iterable[str]) -> str:
    """The first few keys and how many there are: `a, b, c, d ... (17 in all)`."""
    keys = list(dict.fromkeys(keys))
    shown = ", ".join(keys[:_SHOWN])
    return shown if len(keys) <= _SHOWN else f"{shown} ... ({len(keys)} in all)"


class _Mapping:
    """One direction of one table on one set of tensors: what was taken, what was put, and all that went wrong."""

    def __init__(self, source: Mapping[str, Tensor], side: str, other: str) -> None:
        self._source = source
        self._side = side
        self._other = other
        self._taken: set[str] = set()
        self._result: dict[str, Tensor] = {}
        self._twice: list[str] = []
        self._lone: list[str] = []
        self._idle: list[str] = []
        self._clashes: list[str] = []
        self._misfits: list[str] = []

    def carry(
        self,
        sources: tuple[str, ...],
        targets: tuple[str, ...],
        change: Callable[[Sequence[Tensor]], list[Tensor]],
    ) -> None:
        """Applies one rule to every match of its source patterns."""
        for values in self.take(sources):
            keys = _filled(sources, values)
            try:
                tensors = change([self._source[key] for key in keys])
            except WeightsError as error:
                self._misfits.append(f"{', '.join(keys)} ({error})")
            else:
                self.put(_filled(targets, values), tensors)

    def take(self, patterns: tuple[str, ...], *, optional: bool = False) -> list[Values]:
        """The wildcard values under which every pattern has its key in the source, in the source's order."""
        found: dict[Values, set[str]] = {}
        for pattern in patterns:
            matches = _matches(pattern, self._source)
            if not matches and not optional:
                self._idle.append(pattern)
            for key, values in matches.items():
                if key in self._taken:
                    self._twice.append(key)
                self._taken.add(key)
                found.setdefault(values, set()).add(pattern)
        for values, present in found.items():
            self._lone += _filled([pattern for pattern in patterns if pattern not in present], values)
        return [values for values, present in found.items() if len(present) == len(patterns)]

    def put(self, keys: Iterable[str], tensors: Iterable[Tensor]) -> None:
        """Adds tensors to the result."""
        for key, tensor in zip(keys, tensors, strict=True):
            if key in self._result:
                self._clashes.append(key)
            self._result[key] = tensor

    def finish(self) -> dict[str, Tensor]:
        """The result, or one error that names everything that went wrong."""
        problems = [
            ([key for key in self._source if key not in self._taken], f"{self._side} keys that no rule maps"),
            (self._twice, f"{self._side} keys that two rules map"),
            (self._lone, f"{self._side} keys missing beside their other parts"),
            (self._idle, "rules that match nothing"),
            (self._clashes, f"{self._other} keys made twice"),
            (self._misfits, "tensors that a rule cannot take"),
        ]
        texts = [f"{what}: {listed(keys)}" for keys, what in problems if keys]
        if texts:
            raise WeightsError(
                f"the weights do not fit the key table; {'; '.join(texts)}; check that format and preset are right"
            )
        return self._result


@lru_cache(maxsize=4096)
def _regex(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression with one named group for each wildcard."""
    seen: set[str] = set()
    text = ""
    for index, piece in enumerate(WILDCARD.split(pattern)):
        if index % 2 == 0:
            text += re.escape(piece)
        elif piece in seen:
            text += f"(?P={piece})"
        else:
            seen.add(piece)
            text += rf"(?P<{piece}>0|[1-9][0-9]*)" if len(piece) == 1 else rf"(?P<{piece}>[^.]+(?:\.[^.]+)*)"
    return re.compile(text)


def _matches(pattern: str, keys: Mapping[str, Tensor]) -> dict[str, Values]:
    """The keys that a pattern matches, each with its wildcards' values."""
    start = pattern.partition("{")[0]
    if start == pattern:
        return {pattern: ()} if pattern in keys else {}
    tried = ((key, _regex(pattern).fullmatch(key)) for key in keys if key.startswith(start))
    return {key: tuple(sorted(match.groupdict().items())) for key, match in tried if match}


def _filled(patterns: Iterable[str], values: Values) -> list[str]:
    """Patterns with their wildcards replaced by values."""
    texts = dict(values)
    return [WILDCARD.sub(lambda match: texts[match[1]], pattern) for pattern in patterns]


def _mounted(make: Make, prefix_ours: str, prefix_theirs: str) -> Make:
    """A `Drop.make` that sees and makes the keys of its part only."""

    def mounted(ours: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        made = make(take_prefix(ours, prefix_ours) if prefix_ours else ours)
        return add_prefix(made, prefix_theirs) if prefix_theirs else made

    return mounted
