"""`bottega replay FILE`: makes a result again and compares."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from bottega.catalog import Catalog, replay_in
from bottega.cli.arguments import parse
from bottega.cli.run import check_output
from bottega.cli.screen import reporting


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayOptions:
    """Runs the recipe inside a file again. Exit code 0 when every bit is equal, 1 when not.

    Args:
        file: What `bottega run` wrote: .png .webp .jpg .json or .npz.
        weights: Where the recorded weights are now, if not where they were.
        output: Where to keep what was made again; nowhere when it is not given.
        json: Print JSON for machines, and show no progress.
    """

    file: Positional[Annotated[Path, arg(metavar="FILE")]]
    weights: Annotated[str | None, arg(metavar="PATH")] = None
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    json: bool = False


def main(arguments: list[str], rooms: Catalog) -> int:
    """Replays one file."""
    from bottega.results import save

    options = parse(ReplayOptions, arguments, "bottega replay")
    if options.output is not None:
        check_output(options.output)
    with reporting(quiet=options.json) as report:
        replayed = replay_in(rooms, options.file, weights=options.weights, report=report)
    same = replayed.difference is None
    if options.output is not None and replayed.result is not None:
        save(replayed.result, options.output)
    if options.json:
        print(json.dumps({"file": str(options.file), "same": same, "difference": replayed.difference}))
    elif same:
        print(f"{options.file}: the same bits")
    else:
        print(f"{options.file}: not the same: {replayed.difference}")
    return 0 if same else 1
