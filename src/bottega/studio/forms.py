"""A request dataclass as a form: described for the page, and filled in with what the page sent.

The annotations say what a field is, the docstrings what it means, and the dataclass itself checks its ranges.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import docstring_parser
from pydantic import BaseModel, TypeAdapter, ValidationError

from bottega.errors import RequestError
from bottega.room import PictureFile, SaysInputs, SaysLabel
from bottega.studio import limits

Takes = Literal["text", "picture", "nothing"]
Kind = Literal["inputs", "whole", "number", "switch", "text", "picture", "choice"]

INPUTS: Final = "inputs"
PICTURE: Final = "picture"
# Docstrings of fields are found by parsing the source, which Python 3.11 cannot do in two threads at once.
_DESCRIBING: Final = threading.Lock()
_KINDS: Final[Mapping[Any, Kind]] = {bool: "switch", int: "whole", float: "number", str: "text"}


class Choice(BaseModel):
    """One value of a field that has few.

    Args:
        value: What to send.
        label: What to show.
        takes: What `inputs` must hold when the field is the mode.
    """

    value: str
    label: str
    takes: Takes


class Field(BaseModel):
    """One field of a form.

    Args:
        name: What to send it as.
        kind: How to show it.
        help: What it means.
        default: What is taken when it is not sent; None where a value is required or none is the default.
        choices: The values of a "choice".
        optional: Whether None is a value.
        largest: The largest number that the studio takes.
        mode: Whether this choice says what `inputs` must hold.
        takes: For `inputs`: what they hold where no choice says it.
    """

    name: str
    kind: Kind
    help: str
    default: bool | int | float | str | None
    choices: list[Choice] = []
    optional: bool = False
    largest: int | None = None
    mode: bool = False
    takes: Takes = "text"


def describe(request: type) -> list[Field]:
    """The fields of a request dataclass, in order, that a page can show; the others keep their defaults."""
    with _DESCRIBING:
        return list(_described(request))


def mode_of(fields: list[Field]) -> Field | None:
    """The choice that says what `inputs` must hold, where there is one."""
    return next((field for field in fields if field.mode), None)


def fill_in(request: type, settings: Mapping[str, object], inputs: tuple[str, ...], pictures: Mapping[str, str]) -> Any:
    """Makes the request of a filled-in form.

    Args:
        request: The dataclass.
        settings: Values by field name, as JSON has them.
        inputs: Prompts, or paths of pictures that the studio itself wrote.
        pictures: Paths of further such pictures, by the name of their field.

    Returns:
        An instance of `request`.

    Raises:
        RequestError: A name that the form does not have, a value of the wrong kind, or one that the dataclass refuses.
    """
    described = describe(request)
    fields = {field.name: field for field in described if field.kind not in (INPUTS, PICTURE)}
    places = [field.name for field in described if field.kind == PICTURE]
    hints = get_type_hints(request)
    values: dict[str, object] = {}
    for name in pictures:
        if name not in places:
            raise RequestError.of(
                "a picture's place", name[:80], f"one of {', '.join(places)}" if places else "left out"
            )
    values.update(pictures)
    for name, value in settings.items():
        if name not in fields:
            raise RequestError.of("a setting's name", name[:80], f"one of {', '.join(fields)}")
        values[name] = _value(name, value, hints[name], fields[name])
    if any(field.name == INPUTS for field in dataclasses.fields(request)):
        values[INPUTS] = inputs
    return request(**values)


@functools.cache
def _described(request: type) -> tuple[Field, ...]:
    hints, marked = get_type_hints(request), get_type_hints(request, include_extras=True)
    helps = _helps(request)
    found = (
        _field(field, hints[field.name], marked[field.name], helps.get(field.name, ""))
        for field in dataclasses.fields(request)
    )
    return tuple(field for field in found if field is not None)


def _field(field: dataclasses.Field[Any], hint: Any, marked: Any, text: str) -> Field | None:
    default = None if field.default is dataclasses.MISSING else field.default
    is_picture = PictureFile in _members(marked)
    if field.name == INPUTS:
        return Field(name=INPUTS, kind="inputs", help=text, default=None, takes="picture" if is_picture else "text")
    inner, optional = _without_none(hint)
    if isinstance(inner, type) and issubclass(inner, Enum):
        shown = default.value if isinstance(default, Enum) else default
        choices = [Choice(value=str(each.value), label=_label(each), takes=_takes(each)) for each in inner]
        mode = all(isinstance(member, SaysInputs) for member in inner)
        return Field(
            name=field.name, kind="choice", help=text, default=shown, choices=choices, optional=optional, mode=mode
        )
    if is_picture:
        return Field(name=field.name, kind="picture", help=text, default=None, optional=True)
    if inner not in _KINDS:
        return None
    largest = limits.LARGEST.get(field.name)
    return Field(name=field.name, kind=_KINDS[inner], help=text, default=default, optional=optional, largest=largest)


def _takes(member: Enum) -> Any:
    return member.takes if isinstance(member, SaysInputs) else "text"


def _members(hint: Any) -> tuple[Any, ...]:
    """A type and what it is made of: `tuple[PictureFile, ...]` and `PictureFile | None` hold a `PictureFile`."""
    return (hint, *(inner for part in get_args(hint) for inner in _members(part)))


def _value(name: str, value: object, hint: Any, field: Field) -> object:
    if isinstance(value, str) and len(value) > limits.TEXT_CHARACTERS:
        raise RequestError.of(name, value[:40] + "…", f"at most {limits.TEXT_CHARACTERS} characters")
    try:
        checked = TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        allowed = ", ".join(choice.value for choice in field.choices) or _plain(error)
        raise RequestError.of(name, value, f"one of {allowed}" if field.choices else allowed) from error
    if isinstance(checked, float) and not math.isfinite(checked):
        raise RequestError.of(name, checked, "a finite number")
    if field.largest is not None and isinstance(checked, int) and checked > field.largest:
        raise RequestError.of(name, checked, f"at most {field.largest} in the studio")
    return checked


def _plain(error: ValidationError) -> str:
    """Pydantic's reason as the end of "must be ..."."""
    reason = error.errors(include_url=False, include_context=False, include_input=False)[0]["msg"]
    return reason.removeprefix("Input should be ").split(",")[0]


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in (Union, types.UnionType):
        members = [member for member in get_args(hint) if member is not type(None)]
        return (members[0] if len(members) == 1 else hint), len(members) < len(get_args(hint))
    return hint, False


def _helps(request: type) -> dict[str, str]:
    parsed = docstring_parser.parse_from_object(request)
    return {part.arg_name: " ".join((part.description or "").split()) for part in parsed.params}


def _label(member: Enum) -> str:
    if isinstance(member, SaysLabel):
        return member.label
    words = str(member.value).replace("-", " ").replace("_", " ")
    return words[:1].upper() + words[1:]
