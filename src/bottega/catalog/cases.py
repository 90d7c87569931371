"""Requests that show what a system does, made from a prompt and a picture: for the tour and for plans."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottega.errors import RequestError
from bottega.room import SaysInputs, System


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One thing that a system can be asked.

    Args:
        title: The mode's name, or "run" where there is only one.
        request: The request.
        reads: "words", "picture" or "nothing".
    """

    title: str
    request: Any
    reads: str


def cases(system: System, prompts: tuple[str, ...], picture: Path) -> list[Case]:
    """One case for each mode of a system, as the system itself takes inputs.

    Args:
        system: The room's record.
        prompts: What modes that read words are given.
        picture: What modes that read a picture are given.
    """
    kind = system.request
    if "inputs" not in {field.name for field in dataclasses.fields(kind)}:
        return [Case(title="run", request=system.tiny_request, reads="nothing")]
    found = _mode(kind)
    if found is None:
        choices: list[tuple[str, dict[str, Any]]] = [("run", {})]
    else:
        choices = [(str(member.value), {found[0]: member}) for member in found[1]]
    made = [(title, _case(system, chosen, prompts, picture)) for title, chosen in choices]
    return [Case(title=title, request=case[0], reads=case[1]) for title, case in made if case is not None]


def _mode(kind: type) -> tuple[str, type[enum.Enum]] | None:
    """The field that says what is given and what is made, and its values; None where there is none."""
    hints = typing.get_type_hints(kind)
    choices = {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, enum.Enum)}
    named = [name for name, choice in choices.items() if name == "mode" or _says_inputs(choice)]
    return (named[0], choices[named[0]]) if named else None


def _says_inputs(choice: type[enum.Enum]) -> bool:
    return all(isinstance(member, SaysInputs) for member in choice)


def _case(system: System, chosen: dict[str, Any], prompts: tuple[str, ...], picture: Path) -> tuple[Any, str] | None:
    """The request with words; with the picture where the system would read them as files; else with nothing.

    None where it needs more than that, such as a mask.
    """
    try:
        request = system.request(inputs=prompts, **chosen)
    except RequestError:
        with contextlib.suppress(RequestError):
            return system.request(inputs=(), **chosen), "nothing"
        return None
    if system.files is not None and system.files(request):
        return system.request(inputs=(str(picture),), **chosen), "picture"
    return request, "words"
