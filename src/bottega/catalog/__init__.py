"""The catalog: finds rooms, loads and converts their weights, trains them and runs recipes again.

Importing this package imports neither a room nor torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bottega.catalog import ready as _ready
from bottega.catalog.ready import BUNDLED, DTYPES, NATIVE, Ready
from bottega.catalog.rooms import Catalog, Info
from bottega.room import Card, System

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "BUNDLED",
    "DTYPES",
    "NATIVE",
    "ROOMS",
    "Catalog",
    "Info",
    "Ready",
    "build",
    "card",
    "convert",
    "get",
    "info",
    "load",
    "systems",
]

ROOMS = Catalog()


def systems() -> list[str]:
    """The ids of all systems, sorted."""
    return ROOMS.systems()


def card(system_id: str) -> Card:
    """A system's card."""
    return ROOMS.card(system_id)


def get(system_id: str) -> System:
    """A system's record."""
    return ROOMS.get(system_id)


def info(system_id: str) -> Info:
    """Everything to know about a system before using it."""
    return ROOMS.info(system_id)


def build(system_id: str, preset: str, device: str = "cpu") -> nn.Module:
    """A system of a published size, freshly initialised; on "meta" it takes no memory."""
    return _ready.build(ROOMS, system_id, preset, device)


def load(
    system_id: str,
    *,
    preset: str | None = None,
    weights: str | Path | None = None,
    format: str | None = None,
    device: str = "cpu",
    dtype: str | None = None,
) -> Ready:
    """A system with weights in it, ready to be called. See `bottega.catalog.ready.load`."""
    return _ready.load(
        ROOMS, system_id, preset=preset, weights=weights, format=format, device=device, dtype=dtype
    )


def convert(
    system_id: str,
    source: str | Path,
    target: str | Path,
    *,
    source_format: str = NATIVE,
    target_format: str = NATIVE,
    preset: str | None = None,
) -> Path:
    """Weights from one format to another. See `bottega.catalog.ready.convert`."""
    return _ready.convert(
        ROOMS, system_id, source, target,
        source_format=source_format, target_format=target_format, preset=preset,
    )  # fmt: skip
