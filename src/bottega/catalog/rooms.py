"""Which rooms there are. A system's id is the name of its folder; nothing is registered anywhere."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bottega.errors import RequestError
from bottega.room import Card, Preset, System

if TYPE_CHECKING:
    from bottega.catalog.ready import Ready


@dataclass(frozen=True, kw_only=True, slots=True)
class Info:
    """What a person (or a form) needs to know about a system.

    Args:
        id: Catalogue id.
        family: The folder above it, such as "diffusion".
        card: Title, sentence, citation, licence, deviations.
        presets: Sizes by name.
        formats: Published checkpoint layouts by name, each with its description.
        bundled: The preset whose weights come with the package, or None.
        verbs: The verbs that work on it today.
    """

    id: str
    family: str
    card: Card
    presets: Mapping[str, Preset[Any]]
    formats: Mapping[str, str]
    bundled: str | None
    verbs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Catalog:
    """The rooms below one package, each imported when it is first needed.

    Args:
        package: The package whose subpackages are families, whose subpackages are rooms.
    """

    package: str = "bottega.systems"

    def systems(self) -> list[str]:
        """The ids of all systems, sorted; imports nothing."""
        return sorted(_folders(self.package))

    def folder(self, system_id: str) -> Path:
        """The room's folder.

        Raises:
            RequestError: There is no such system; names the nearest ones.
        """
        folders = _folders(self.package)
        if system_id in folders:
            return folders[system_id]
        near = difflib.get_close_matches(system_id.lower().replace("-", "_"), folders, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(folders))}"
        raise RequestError(f"there is no system {system_id!r}; {hint}")

    def family(self, system_id: str) -> str:
        """The name of the folder that the room lies in."""
        return self.folder(system_id).parent.name

    def card(self, system_id: str) -> Card:
        """The room's card; imports neither its model nor torch."""
        return self._import(system_id, "").CARD

    def get(self, system_id: str) -> System:
        """The room's record; imports the room."""
        return self._import(system_id, ".system").SYSTEM

    def info(self, system_id: str) -> Info:
        """Everything to know about a system before using it; imports the room."""
        system = self.get(system_id)
        return Info(
            id=system_id,
            family=self.family(system_id),
            card=self.card(system_id),
            presets=system.presets,
            formats={name: each.description for name, each in system.formats.items()},
            bundled=system.bundled,
            verbs=tuple(system.verbs()),
        )

    def load(self, system_id: str, parts: Mapping[str, str] | None = None) -> Ready:
        """A system with its bundled weights; `bottega.catalog.load` takes others."""
        return importlib.import_module("bottega.catalog.ready").load(self, system_id, parts=parts)

    def preset(self, system_id: str, name: str) -> Preset[Any]:
        """A size of a system.

        Raises:
            RequestError: It has no such preset.
        """
        presets = self.get(system_id).presets
        if name not in presets:
            raise RequestError.of("preset", name, f"one of {', '.join(presets)}")
        return presets[name]

    def request_type(self, name: str) -> type | None:
        """The request dataclass of that name among all rooms, or None; imports only the room that defines it."""
        if not re.fullmatch(r"[A-Z]\w*Request", name):
            return None
        for system_id, folder in _folders(self.package).items():
            sources = (file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py")))
            if any(re.search(rf"^class {name}\b", source, re.MULTILINE) for source in sources):
                request = self.get(system_id).request
                if request.__name__ == name:
                    return request
        return None

    def request_names(self) -> list[str]:
        """The names that `request_type` knows, without importing a room."""
        found: set[str] = set()
        for folder in _folders(self.package).values():
            for file in folder.glob("*.py"):
                found.update(re.findall(r"^class ([A-Z]\w*Request)\b", file.read_text(encoding="utf-8"), re.MULTILINE))
        return sorted(found)

    def _import(self, system_id: str, part: str) -> Any:
        folder = self.folder(system_id)
        return importlib.import_module(f"{self.package}.{folder.parent.name}.{folder.name}{part}")


@functools.cache
def _folders(package: str) -> Mapping[str, Path]:
    """Room folders by id."""
    spec = importlib.util.find_spec(package)
    roots = [] if spec is None else list(spec.submodule_search_locations or [])
    files = sorted(file for root in roots for file in Path(root).glob("*/*/system.py"))
    folders = {file.parent.name: file.parent for file in files}
    if len(folders) != len(files):
        raise RuntimeError(f"two rooms below {package} share a name: {[str(file.parent) for file in files]}")
    return folders
