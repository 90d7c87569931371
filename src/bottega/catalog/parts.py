"""Systems inside systems: a configuration's fields name them, the catalog loads them and hands over what they offer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bottega.catalog.rooms import Catalog
from bottega.errors import RequestError
from bottega.room import System

if TYPE_CHECKING:
    from torch import nn

Given = Mapping[str, str]
"""What users choose: by field, a part as `Part.parse` reads it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Another system that a system works with.

    Args:
        id: Catalogue id.
        preset: The size; None takes the one at hand.
        weights: A file of bottega's own; None takes the bundled weights.
    """

    id: str
    preset: str | None = None
    weights: str | None = None

    @classmethod
    def parse(cls, text: str) -> Part:
        """Reads `ID`, `ID:PRESET`, `ID=WEIGHTS` or `ID:PRESET=WEIGHTS`."""
        name, _, weights = text.partition("=")
        system_id, _, preset = name.partition(":")
        return cls(id=system_id, preset=preset or None, weights=weights or None)

    @property
    def name(self) -> str:
        """`ID` or `ID:PRESET`: what a configuration holds."""
        return self.id if self.preset is None else f"{self.id}:{self.preset}"

    @property
    def text(self) -> str:
        """What `parse` reads."""
        return self.name if self.weights is None else f"{self.name}={self.weights}"


def choose_parts(system: System, system_id: str, config: Any, given: Given) -> tuple[Any, dict[str, Part]]:
    """The configuration with the parts that the user chose, and every part by field; an empty field names none.

    Raises:
        RequestError: The system has no such part.
    """
    for field in given:
        if field not in system.parts:
            known = f"one of {', '.join(system.parts)}" if system.parts else "none: it works on its own"
            raise RequestError.of(f"part of {system_id}", field, known)
    named = {field: given.get(field) or getattr(config, field) for field in system.parts}
    parts = {field: Part.parse(text) for field, text in named.items() if text}
    chosen = {field: part.name for field, part in parts.items() if field in given}
    return (dataclasses.replace(config, **chosen) if chosen else config), parts


def connect(
    catalog: Catalog, system: System, model: nn.Module, parts: Mapping[str, Part], open_part: Callable[[Part], Any]
) -> dict[str, Any]:
    """Hands a built model what its parts offer.

    Args:
        catalog: The rooms.
        system: The record of the system whose parts they are.
        model: The built model.
        parts: By field.
        open_part: Makes something with a `model` of a part: a loaded system, or a fresh one.

    Returns:
        What `open_part` made, by field.

    Raises:
        RequestError: A part's system is unknown, or holds nothing of the kind.
    """
    opened, offered = {}, {}
    for field, part in parts.items():
        kind = system.parts[field]
        offer = catalog.get(part.id).offer(kind)
        if offer is None:
            able = [name for name in catalog.systems() if catalog.get(name).offer(kind) is not None]
            raise RequestError.of(field, part.id, f"one of {', '.join(able)}", f"it must hold a {kind.value}")
        opened[field] = open_part(part)
        offered[field] = offer(opened[field].model)
    if offered and system.connect is not None:
        system.connect(model, offered)
    return opened


@dataclass(frozen=True, slots=True)
class Fresh:
    """A part with random weights, and the tokenizers of its bundled weights where it has any."""

    model: nn.Module

    @classmethod
    def of(cls, catalog: Catalog, part: Part) -> Fresh:
        """Builds the part on the current default device."""
        from bottega.weights import bundled_path, read_native_header

        system = catalog.get(part.id)
        preset = part.preset or system.at_hand() or next(iter(system.presets))
        model = build_connected(catalog, part.id, catalog.preset(part.id, preset).config)
        path = bundled_path(catalog.folder(part.id), preset) if preset == system.bundled else None
        if system.attach is not None and path is not None and path.is_file():
            system.attach(model, read_native_header(path).assets)
        return cls(model)


def build_connected(catalog: Catalog, system_id: str, config: Any) -> nn.Module:
    """A system of a configuration with fresh weights, its parts fresh as well; on the current default device."""
    system = catalog.get(system_id)
    _, parts = choose_parts(system, system_id, config, {})
    model = system.build(config)
    connect(catalog, system, model, parts, lambda part: Fresh.of(catalog, part))
    return model


def import_parts(catalog: Catalog, system_id: str, config: Any) -> None:
    """Imports the rooms of all parts: what a room makes when it is imported must not land on "meta"."""
    system = catalog.get(system_id)
    _, parts = choose_parts(system, system_id, config, {})
    for part in parts.values():
        preset = part.preset or catalog.get(part.id).at_hand() or next(iter(catalog.get(part.id).presets))
        import_parts(catalog, part.id, catalog.preset(part.id, preset).config)
