"""`bottega convert ID SOURCE TARGET`: weights from one format to another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from bottega.catalog import NATIVE, Catalog, convert_in
from bottega.cli.arguments import parse, take_system


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertOptions:
    """Writes weights in another format. "native" is bottega's own; `bottega info ID` lists the published ones.

    Args:
        source: A file, a folder or a hub id.
        target: Where to write; must not exist.
        source_format: The source's format.
        target_format: The target's format.
        preset: The size, where the source does not say it.
    """

    source: Positional[Annotated[str, arg(metavar="SOURCE")]]
    target: Positional[Annotated[Path, arg(metavar="TARGET")]]
    source_format: Annotated[str, arg(name="from", metavar="NAME")] = NATIVE
    target_format: Annotated[str, arg(name="to", metavar="NAME")] = NATIVE
    preset: Annotated[str | None, arg(metavar="NAME")] = None


def main(arguments: list[str], rooms: Catalog) -> int:
    """Converts once."""
    system_id, rest = take_system(arguments, "bottega convert", rooms)
    options = parse(ConvertOptions, rest, f"bottega convert {system_id}")
    written = convert_in(
        rooms,
        system_id,
        options.source,
        options.target,
        source_format=options.source_format,
        target_format=options.target_format,
        preset=options.preset,
    )
    print(written)
    return 0
