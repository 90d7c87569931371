"""Configuration dataclasses to JSON and back, with errors that name the field.

Every dataclass is written as an object with its class name under "type", so that a choice which is a type
(`path: Vp | RectifiedFlow`) can be read back. Reading builds only the types that the annotations name.
"""

from __future__ import annotations

import enum
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from bottega.errors import BottegaError, RequestError

Config = TypeVar("Config")
Json = dict[str, Any] | list[Any] | str | int | float | bool | None
_TAG = "type"
_NOT_FINITE = ("inf", "-inf", "nan")


def encode_config(config: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    """A dataclass as a JSON object: tuples as lists, enums by name, paths as text, dataclasses tagged with their type.

    Raises:
        TypeError: A value that is none of these; a bug in the dataclass.
    """
    encoded = _encode(config)
    if not is_dataclass(config) or not isinstance(encoded, dict):
        raise TypeError(f"{config!r} is not a dataclass")
    return encoded


def decode_config(kind: type[Config], data: Mapping[str, Any]) -> Config:
    """Builds a dataclass (or one of a union of dataclasses) from a JSON object.

    A field that is missing takes its default when it has one: that is how old files stay readable when a dataclass grows.

    Args:
        kind: The dataclass, or a union of dataclasses.
        data: What `encode_config` gave, or the same written by hand; "type" may be left out where only one type fits.

    Raises:
        RequestError: An unknown or missing field, a wrong type or a refused value, with the path of the field.
    """
    return _decode(kind, data, _name(kind))


def _encode(value: Any) -> Json:  # noqa: ANN401
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        if _TAG in names:
            raise TypeError(f"{type(value).__name__} has a field named {_TAG!r}, which is kept for the class name")
        return {_TAG: type(value).__name__} | {name: _encode(_member(value, name)) for name in names}
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _encode(item) for key, item in value.items()}
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be part of a configuration")


def _member(value: object, name: str) -> object:
    return object.__getattribute__(value, name)


def _decode(annotation: Any, data: Any, path: str) -> Any:  # noqa: ANN401
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(arguments, data, path)
    if origin is typing.Annotated:
        return _decode(arguments[0], data, path)
    if origin is typing.Literal:
        if not any(data == choice and type(data) is type(choice) for choice in arguments):
            raise _wrong(path, data, f"one of {', '.join(map(repr, arguments))}")
        return data
    if origin is tuple:
        return _decode_tuple(arguments, data, path)
    if origin in (list, Sequence):
        items = [_decode(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(_list(data, path))]
        return items if origin is list else tuple(items)
    if origin in (dict, Mapping):
        return {key: _decode(arguments[1], item, f"{path}[{key!r}]") for key, item in _object(data, path).items()}
    if isinstance(annotation, type):
        return _decode_class(annotation, data, path)
    raise TypeError(f"{path} has the annotation {annotation!r}, which cannot be read from JSON")


def _decode_class(kind: type, data: Any, path: str) -> Any:  # noqa: ANN401
    if is_dataclass(kind):
        return _decode_dataclass(kind, data, path)
    if kind is types.NoneType:
        return _plain(data is None, data, path, "null")
    if issubclass(kind, enum.Enum):
        if not isinstance(data, str) or data not in kind.__members__:
            raise _wrong(path, data, f"one of {', '.join(kind.__members__)}")
        return kind[data]
    if kind is Path:
        return Path(_plain(isinstance(data, str) and "\0" not in data, data, path, "a path (text)"))
    if kind is bool:
        return _plain(isinstance(data, bool), data, path, "true or false")
    if kind is int:
        return _plain(isinstance(data, int) and not isinstance(data, bool), data, path, "a whole number")
    if kind is float:
        number = (isinstance(data, int | float) and not isinstance(data, bool)) or data in _NOT_FINITE
        return _float(_plain(number, data, path, "a number"), path)
    if kind is str:
        return _plain(isinstance(data, str), data, path, "text")
    raise TypeError(f"{path} has the type {kind.__name__}, which cannot be read from JSON")


def _decode_dataclass(kind: type, data: Any, path: str) -> Any:  # noqa: ANN401
    given = dict(_object(data, path))
    tag = given.pop(_TAG, kind.__name__)
    if tag != kind.__name__:
        raise _wrong(f"{path}.{_TAG}", tag, repr(kind.__name__))
    annotations = typing.get_type_hints(kind, include_extras=True)
    known = {field.name: field for field in fields(kind) if field.init}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise RequestError(f"{path} has no field {unknown[0]!r}; its fields are {', '.join(known) or 'none'}")
    missing = [name for name, field in known.items() if name not in given and _is_required(field)]
    if missing:
        raise RequestError(f"{path} lacks the field {missing[0]!r}; it has no default, so it must be given")
    values = {name: _decode(annotations[name], item, f"{path}.{name}") for name, item in given.items()}
    try:
        return kind(**values)
    except BottegaError as error:
        raise RequestError(f"{path}: {error}") from error
    except (ValueError, TypeError) as error:
        raise RequestError(f"{path} has values that {kind.__name__} refuses: {error}") from error


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _decode_union(options: tuple[Any, ...], data: Any, path: str) -> Any:  # noqa: ANN401
    """One member of a union: a dataclass by its tag, anything else by the kind of JSON value."""
    classes = {option.__name__: option for option in options if is_dataclass(option)}
    if isinstance(data, Mapping) and classes:
        tag = data.get(_TAG, next(iter(classes)) if len(classes) == 1 else None)
        if not isinstance(tag, str) or tag not in classes:
            raise _wrong(f"{path}.{_TAG}", tag, f"one of {', '.join(classes)}")
        return _decode(classes[tag], data, path)
    others = [option for option in options if not is_dataclass(option)]
    accepted = [option for option in others if _accepts(option, data)]
    if len(accepted) > 1:
        raise TypeError(f"{path}: {data!r} fits {accepted} alike; a union's members must differ in JSON")
    if not accepted:
        raise _wrong(path, data, " or ".join(_name(option) for option in options))
    return _decode(accepted[0], data, path)


def _accepts(option: Any, data: Any) -> bool:  # noqa: ANN401
    """Whether a JSON value is of the kind that an option is written as. Whole numbers are `int` before `float`."""
    origin = typing.get_origin(option)
    if origin is typing.Literal:
        return data in typing.get_args(option)
    if origin in (tuple, list, Sequence):
        return isinstance(data, list | tuple)
    if origin in (dict, Mapping):
        return isinstance(data, Mapping)
    if option is float:
        return isinstance(data, float) or data in _NOT_FINITE
    if option in (int, bool, types.NoneType):
        return type(data) is option
    if isinstance(option, type) and issubclass(option, enum.Enum):
        return isinstance(data, str) and data in option.__members__
    return isinstance(data, str) and option in (str, Path)


def _decode_tuple(arguments: tuple[Any, ...], data: Any, path: str) -> tuple[Any, ...]:  # noqa: ANN401
    items = _list(data, path)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(items)
    elif len(arguments) != len(items):
        raise _wrong(path, data, f"a list of {len(arguments)}")
    pairs = zip(arguments, items, strict=True)
    return tuple(_decode(kind, item, f"{path}[{index}]") for index, (kind, item) in enumerate(pairs))


def _plain(fits: bool, data: Any, path: str, expected: str) -> Any:  # noqa: ANN401
    if not fits:
        raise _wrong(path, data, expected)
    return data


def _float(data: Any, path: str) -> float:  # noqa: ANN401
    try:
        return float(data)
    except OverflowError as error:
        raise _wrong(path, "a huge whole number", "a number below 1.8e308") from error


def _list(data: Any, path: str) -> Sequence[Any]:  # noqa: ANN401
    return _plain(isinstance(data, list | tuple), data, path, "a list")


def _object(data: Any, path: str) -> Mapping[str, Any]:  # noqa: ANN401
    fits = isinstance(data, Mapping) and all(isinstance(key, str) for key in data)
    return _plain(fits, data, path, "an object (names and values)")


def _name(annotation: Any) -> str:  # noqa: ANN401
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _wrong(path: str, data: object, expected: str) -> RequestError:
    text = repr(data)
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    return RequestError(f"{path} is {shown}, but it must be {expected}")
