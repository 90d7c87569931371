"""Requests that show what a system does, made from a prompt and a picture: for the tour and for plans."""

from __future__ import annotations

import dataclasses
import enum
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottega.errors import RequestError
from bottega.room import System


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
    names = {field.name for field in dataclasses.fields(kind)}
    mode = typing.get_type_hints(kind).get("mode")
    if "inputs" not in names:
        return [Case(title="run", request=system.tiny_request, reads="nothing")]
    if isinstance(mode, type) and issubclass(mode, enum.Enum):
        made = [(str(member.value), _case(system, {"mode": member}, prompts, picture)) for member in mode]
    else:
        made = [("run", _case(system, {}, prompts, picture))]
    return [Case(title=title, request=request, reads=reads) for title, (request, reads) in made]


def _case(system: System, chosen: dict[str, Any], prompts: tuple[str, ...], picture: Path) -> tuple[Any, str]:
    """The request with words; with the picture where the system would read them as files; else with nothing."""
    try:
        request = system.request(inputs=prompts, **chosen)
    except RequestError:
        return system.request(inputs=(), **chosen), "nothing"
    if system.files is not None and system.files(request):
        return system.request(inputs=(str(picture),), **chosen), "picture"
    return request, "words"
