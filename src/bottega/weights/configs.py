"""Configuration dataclasses to JSON and back, with errors that name the field.

Every dataclass is written as an object with its class name under "type", so that a choice which is a type
(`path: Vp | RectifiedFlow`) can be read back. Reading builds only the types that the annotations name.
"""

from __future__ import annotations

import enum
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from bottega.errors import BottegaError, RequestError

Config = TypeVar("Config")
_TAG = "type"
_NOT_FINITE = ("inf", "-inf", "nan")


def encode_config(config: Any) -> dict[str, Any]:
    """A dataclass as a JSON object: tuples as lists, enums by name, paths as text, dataclasses tagged with their type.

    Raises:
        TypeError: A value that is none of these; a bug in the dataclass.
    """
    if not is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"{config!r} is not a dataclass")
    values = {field.name: getattr(config, field.name) for field in fields(config) if field.init}
    if _TAG in values:
        raise TypeError(f"{type(config).__name__} has a field named {_TAG!r}, which is kept for the class name")
    return {_TAG: type(config).__name__} | {name: _encode(value) for name, value in values.items()}


def decode_config(kind: type[Config], data: Mapping[str, Any]) -> Config:
    """Builds a dataclass (or one of a union of dataclasses) from a JSON object.

    A field that is missing takes its default when it has one: that is how old files stay readable when a dataclass
    grows.

    Args:
        kind: The dataclass, or a union of dataclasses.
        data: What `encode_config` gave, or the same written by hand: "type" may be left out where only one type fits.

    Raises:
        RequestError: An unknown or missing field, a wrong type or a refused value, with the path of the field.
    """
    return _decode(kind, data, _name(kind))


def _encode(value: Any) -> Any:
    match value:
        case enum.Enum():
            encoded = value.name
        case Path():
            encoded = value.as_posix()
        case float() if not math.isfinite(value):
            encoded = str(value)
        case None | bool() | int() | float() | str():
            encoded = value
        case tuple() | list():
            encoded = [_encode(item) for item in value]
        case Mapping() if all(isinstance(key, str) for key in value):
            encoded = {key: _encode(item) for key, item in value.items()}
        case _:
            encoded = encode_config(value)
    return encoded


@dataclass(frozen=True, slots=True)
class _Scalar:
    """How one plain type is read: what JSON it takes, in words and as a test, and what is made of it."""

    words: str
    takes: Callable[[Any], bool]
    make: Callable[[Any], Any]


def _is_number(data: Any) -> bool:
    return isinstance(data, int | float) and not isinstance(data, bool)


_SCALARS: dict[Any, _Scalar] = {
    types.NoneType: _Scalar("null", lambda data: data is None, lambda data: data),
    bool: _Scalar("true or false", lambda data: isinstance(data, bool), bool),
    int: _Scalar("a whole number", lambda data: isinstance(data, int) and not isinstance(data, bool), int),
    float: _Scalar("a number", lambda data: _is_number(data) or data in _NOT_FINITE, float),
    str: _Scalar("text", lambda data: isinstance(data, str), str),
    Path: _Scalar("a path (text)", lambda data: isinstance(data, str) and "\0" not in data, Path),
}


def _decode(annotation: Any, data: Any, path: str) -> Any:
    origin = typing.get_origin(annotation)
    if origin in _CONTAINERS:
        return _CONTAINERS[origin](typing.get_args(annotation), data, path)
    if is_dataclass(annotation) and isinstance(annotation, type):
        return _decode_dataclass(annotation, data, path)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        _require(_names_member(annotation, data), data, path, f"one of {', '.join(annotation.__members__)}")
        return annotation[data]
    scalar = _SCALARS.get(annotation)
    if scalar is None:
        raise TypeError(f"{path} has the annotation {annotation!r}, which cannot be read from JSON")
    _require(scalar.takes(data), data, path, scalar.words)
    try:
        return scalar.make(data)
    except OverflowError as error:
        raise _wrong(path, "a huge whole number", "a number below 1.8e308") from error


def _decode_dataclass(kind: type, data: Any, path: str) -> Any:
    _require_object(data, path)
    given = dict(data)
    tag = given.pop(_TAG, kind.__name__)
    _require(tag == kind.__name__, tag, f"{path}.{_TAG}", repr(kind.__name__))
    known = {field.name: field for field in fields(kind) if field.init}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise RequestError(f"{path} has no field {unknown[0]!r}; its fields are {', '.join(known) or 'none'}")
    missing = [name for name, field in known.items() if name not in given and _is_required(field)]
    if missing:
        raise RequestError(f"{path} lacks the field {missing[0]!r}; it has no default, so it must be given")
    annotations = typing.get_type_hints(kind)
    values = {name: _decode(annotations[name], item, f"{path}.{name}") for name, item in given.items()}
    try:
        return kind(**values)
    except BottegaError as error:
        raise RequestError(f"{path}: {error}") from error
    except (ValueError, TypeError) as error:
        raise RequestError(f"{path} has values that {kind.__name__} refuses: {error}") from error


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _decode_union(options: tuple[Any, ...], data: Any, path: str) -> Any:
    """One member of a union: a dataclass by its tag, anything else by the kind of JSON value."""
    classes = {_name(option): option for option in options if is_dataclass(option)}
    if isinstance(data, Mapping) and classes:
        tag = data.get(_TAG, next(iter(classes)) if len(classes) == 1 else None)
        _require(isinstance(tag, str) and tag in classes, tag, f"{path}.{_TAG}", f"one of {', '.join(classes)}")
        return _decode(classes[tag], data, path)
    fitting = [option for option in options if _fits(option, data)]
    if float in fitting and len(fitting) > 1:  # 1 is an int before it is a float; "inf" is text before that
        fitting.remove(float)
    if len(fitting) > 1:
        raise TypeError(f"{path}: {data!r} fits {fitting} alike; the members of a union must differ in JSON")
    _require(bool(fitting), data, path, " or ".join(map(_name, options)))
    return _decode(fitting[0], data, path)


def _fits(option: Any, data: Any) -> bool:
    """Whether a JSON value is of the kind that a member of a union is written as."""
    origin = typing.get_origin(option)
    if origin is typing.Literal:
        return _is_choice(typing.get_args(option), data)
    if origin in (tuple, list):
        return isinstance(data, list | tuple)
    if origin in (dict, Mapping):
        return isinstance(data, Mapping)
    if isinstance(option, type) and issubclass(option, enum.Enum):
        return _names_member(option, data)
    return option in _SCALARS and _SCALARS[option].takes(data)


def _decode_literal(choices: tuple[Any, ...], data: Any, path: str) -> Any:
    _require(_is_choice(choices, data), data, path, f"one of {', '.join(map(repr, choices))}")
    return data


def _decode_tuple(kinds: tuple[Any, ...], data: Any, path: str) -> tuple[Any, ...]:
    _require(isinstance(data, list | tuple), data, path, "a list")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(data)
    _require(len(kinds) == len(data), data, path, f"a list of {len(kinds)}")
    return tuple(_decode(kind, data[index], f"{path}[{index}]") for index, kind in enumerate(kinds))


def _decode_list(kinds: tuple[Any, ...], data: Any, path: str) -> list[Any]:
    return list(_decode_tuple((kinds[0], Ellipsis), data, path))


def _decode_mapping(kinds: tuple[Any, ...], data: Any, path: str) -> dict[str, Any]:
    _require_object(data, path)
    return {key: _decode(kinds[1], item, f"{path}[{key!r}]") for key, item in data.items()}


_CONTAINERS: dict[Any, Callable[[tuple[Any, ...], Any, str], Any]] = {
    typing.Union: _decode_union,
    types.UnionType: _decode_union,
    typing.Literal: _decode_literal,
    tuple: _decode_tuple,
    list: _decode_list,
    dict: _decode_mapping,
    Mapping: _decode_mapping,
}


def _is_choice(choices: tuple[Any, ...], data: Any) -> bool:
    return any(data == choice and type(data) is type(choice) for choice in choices)


def _names_member(kind: type[enum.Enum], data: Any) -> bool:
    return isinstance(data, str) and data in kind.__members__


def _require_object(data: Any, path: str) -> None:
    fits = isinstance(data, Mapping) and all(isinstance(key, str) for key in data)
    _require(fits, data, path, "an object (names and values)")


def _require(fits: bool, data: Any, path: str, expected: str) -> None:
    if not fits:
        raise _wrong(path, data, expected)


def _wrong(path: str, data: object, expected: str) -> RequestError:
    text = repr(data)
    return RequestError(f"{path} is {text if len(text) <= 80 else text[:77] + '...'}, but it must be {expected}")


def _name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
