"""`bottega list`: every system in one table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from bottega.catalog import Catalog, Info
from bottega.cli.arguments import parse
from bottega.cli.screen import output
from bottega.cli.wording import count_text


@dataclass(frozen=True, kw_only=True, slots=True)
class ListOptions:
    """Lists every system: id, family, citation, sizes with parameter counts, formats, bundled weights, verbs.

    Args:
        json: Print JSON for machines.
    """

    json: bool = False


def main(arguments: list[str], rooms: Catalog) -> int:
    """Prints the table."""
    options = parse(ListOptions, arguments, "bottega list")
    infos = [rooms.info(system_id) for system_id in rooms.systems()]
    if options.json:
        print(json.dumps([as_json(info) for info in infos], indent=2, ensure_ascii=False))
        return 0
    table = Table(
        "system", "family", "citation", "sizes", "formats", "bundled", "verbs", box=None, padding=(0, 2, 0, 0)
    )
    for info in infos:
        sizes = ", ".join(f"{name} {count_text(preset.parameters)}" for name, preset in info.presets.items())
        at_hand = "-" if rooms.get(info.id).at_hand() is None else info.bundled or "none needed"
        table.add_row(
            info.id, info.family, info.card.citation, sizes, ", ".join(("native", *info.formats)), at_hand,
            " ".join(info.verbs),
        )  # fmt: skip
    output().print(table)
    return 0


def as_json(info: Info) -> dict[str, Any]:
    """What `--json` prints for a system."""
    return {
        "id": info.id,
        "family": info.family,
        "title": info.card.title,
        "sentence": info.card.sentence,
        "citation": info.card.citation,
        "papers": list(info.card.papers),
        "licence": info.card.licence,
        "presets": {
            name: {"parameters": preset.parameters, "source": preset.source} for name, preset in info.presets.items()
        },
        "formats": dict(info.formats),
        "bundled": info.bundled,
        "verbs": list(info.verbs),
    }
