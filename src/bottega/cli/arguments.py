"""Command lines from dataclasses, by tyro; its error boxes become one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import sys
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import docstring_parser
import tyro
from tyro.conf import EnumChoicesFromValues, Positional, arg

from bottega.catalog import Catalog
from bottega.cli.wording import nearest, one_line
from bottega.errors import RequestError

Kind = TypeVar("Kind")
INPUTS = "inputs"
_REWORDED = (
    (
        r"Error parsing (\S+): invalid literal for int\(\) with base 10: (.+)",
        r"\1 is \2, but it must be a whole number",
    ),
    (r"Error parsing (\S+): could not convert string to float: (.+)", r"\1 is \2, but it must be a number"),
    (r"invalid choice (.+) for argument '(\S+)'\. Expected one of \((.+?),?\)", r"\2 is \1, but it must be one of \3"),
    (
        r"Error parsing (\S+): no type matching \{None\}\|INT .* from \[(.+?)\].*",
        r"\1 is \2, but it must be a whole number",
    ),
    (
        r"Error parsing (\S+): no type matching \{None\}\|FLOAT .* from \[(.+?)\].*",
        r"\1 is \2, but it must be a number",
    ),
    (r"Error parsing (\S+): no type matching (.+) could .* from \[(.+?)\].*", r"\1 is \3, but it must be \2"),
    (r"Missing value for argument '(.+)'\. Expected .*", r"\1 needs a value"),
)


def parse(kind: type[Kind], arguments: Sequence[str], program: str, description: str | None = None) -> Kind:
    """Fills a dataclass from arguments.

    Args:
        kind: The dataclass; its fields are the options and their docstrings the help.
        arguments: The command line after the program's name.
        program: What to call the program in help and errors.
        description: What `--help` says first; None takes the dataclass's docstring.

    Raises:
        RequestError: An option is unknown, lacks its value, or has one of the wrong kind.
        SystemExit: After `--help`.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                kind, prog=program, description=description, args=list(arguments), config=(EnumChoicesFromValues,)
            )
    except SystemExit as end:
        if end.code in (0, None):
            raise
        raise RequestError(_reason(said.getvalue(), kind, arguments, program)) from end


def take_system(arguments: Sequence[str], program: str, rooms: Catalog) -> tuple[str, list[str]]:
    """The system's id, which comes first, and the rest of the arguments.

    Raises:
        RequestError: No id, or an unknown one.
    """
    if not arguments or arguments[0].startswith("-"):
        systems = ", ".join(rooms.systems())
        if arguments and arguments[0] in ("-h", "--help"):
            print(f"usage: {program} ID ...\n\nID is one of {systems}.\n`{program} ID --help` lists its options.")
            sys.exit(0)
        raise RequestError(f"{program} needs a system first; there are {systems}")
    rooms.folder(arguments[0])
    return arguments[0], list(arguments[1:])


@dataclass(frozen=True, slots=True)
class Line:
    """A command line after the system's id.

    Args:
        arguments: The words.
        program: What to call the program in help and errors.
        description: What `--help` says first.
        parts: Options that name other systems to work with, beside the dataclasses' own.
    """

    arguments: Sequence[str]
    program: str
    description: str
    parts: Collection[str] = ()


def parse_together(line: Line, *kinds: type, renamed: Mapping[str, str] = MappingProxyType({})) -> tuple[Any, ...]:
    """Fills several dataclasses and the parts from one command line.

    Args:
        line: The command line.
        kinds: Dataclasses; a system's field `inputs` takes the positional arguments.
        renamed: What a later dataclass's field is called where an earlier one has its name already.

    Returns:
        An instance of each, and the chosen parts by name.

    Raises:
        RequestError: As `parse`, or a value that a dataclass refuses.
    """
    columns: dict[str, tuple[str, Any, Any]] = {}
    places: list[dict[str, str]] = []
    for kind in kinds:
        place = {}
        for name, annotation, default in _columns(kind):
            place[name] = renamed.get(name, name) if name in columns else name
            if place[name] in columns:
                raise TypeError(f"{kind.__name__}.{name} is an option of the command line already")
            columns[place[name]] = (place[name], annotation, default)
        places.append(place)
    for name in line.parts:
        columns[name] = (name, Annotated[str | None, arg(help=_PART_HELP, metavar="ID[:PRESET][=WEIGHTS]")], None)
    whole = dataclasses.make_dataclass("Line", list(columns.values()), frozen=True, kw_only=True)
    values = parse(whole, line.arguments, line.program, line.description)
    made = [
        kind(**{name: getattr(values, shown) for name, shown in place.items()})
        for kind, place in zip(kinds, places, strict=True)
    ]
    given = {name: getattr(values, name) for name in line.parts}
    return *made, {name: value for name, value in given.items() if value is not None}


_PART_HELP = "Another system to work with; its bundled weights where no file is given."


def _columns(kind: type) -> list[tuple[str, Any, Any]]:
    """A dataclass's fields for `make_dataclass`, each with its help."""
    hints = typing.get_type_hints(kind, include_extras=True)
    helps = {part.arg_name: part.description or "" for part in docstring_parser.parse_from_object(kind).params}
    columns = []
    for field in dataclasses.fields(kind):
        hint = Annotated[hints[field.name], arg(help=" ".join(helps.get(field.name, "").split()))]
        annotation = Positional[Annotated[hint, arg(metavar="[INPUT ...]")]] if field.name == INPUTS else hint
        default = dataclasses.field(default=field.default, default_factory=field.default_factory)  # type: ignore[call-overload]
        columns.append((field.name, annotation, default))
    return columns


def _reason(said: str, kind: type, arguments: Sequence[str], program: str) -> str:
    """The first part of tyro's box as one line, in words for people."""
    sections: list[list[str]] = [[]]
    for line in said.splitlines():
        text = line.strip("│ ")
        if text and set(text) <= {"─", "-"}:
            sections.append([])
        elif not line.startswith(("╭", "╰")):
            sections[-1].append(text)
    content = sections[0] if "│" in said else sections[1]  # without Unicode the box's title is a section of its own
    reason = one_line(" ".join(content)).rstrip(".")
    unknown = _unknown_option(kind, arguments) if reason.startswith("Unrecognized") else None
    if unknown is not None:
        return f"{program} has no option {unknown}; {nearest(unknown, _options(kind))}"
    if reason.startswith("Unrecognized") and INPUTS in {field.name for field in dataclasses.fields(kind)}:
        stray = reason.partition(": ")[2]
        return f"{stray!r} stands apart from the other inputs; put all inputs together, before the options"
    for pattern, words in _REWORDED:
        reason = re.sub(pattern, words, reason)
    return f"{reason[:1].lower()}{reason[1:]}; see `{program} --help`"


def _options(kind: type) -> Iterable[str]:
    return [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(kind) if field.name != INPUTS]


def _unknown_option(kind: type, arguments: Sequence[str]) -> str | None:
    known = {*_options(kind), *(option.replace("--", "--no-", 1) for option in _options(kind))}
    names = (text.partition("=")[0] for text in arguments if text.startswith("--"))
    return next((name for name in names if name.replace("_", "-") not in known), None)
