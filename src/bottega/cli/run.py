"""`bottega run ID ...`: runs a system and keeps what it makes."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from bottega.catalog import Catalog, Ready, load_in
from bottega.cli.arguments import Line, parse_together, take_system
from bottega.cli.screen import note, reporting
from bottega.cli.wording import time_text
from bottega.errors import FileError, RequestError
from bottega.room import Result

FOLDER = "out"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """Where to run, with which weights, and where the result goes.

    Args:
        output: A folder, or a file whose extension picks the form: .png .webp .jpg .txt .json, or .npz for raw arrays.
            Pictures go to "out/" and words are printed when it is not given.
        device: "cpu", "cuda", "cuda:1" or "mps".
        dtype: Type of the parameters: float32, bfloat16, float16, float64, or int8 (8-bit weights in linear layers).
        weights: A weights file of bottega's own, or (with --format) a published file, folder or hub id. The bundled
            weights when it is not given.
        format: The published format that the weights have; `bottega info ID` lists them.
        preset: The size, where the weights do not say it.
        json: Print JSON for machines, and show no progress.
    """

    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    device: Annotated[str, arg(metavar="DEVICE")] = "cpu"
    dtype: Annotated[str | None, arg(metavar="TYPE")] = None
    weights: Annotated[str | None, arg(metavar="PATH")] = None
    format: Annotated[str | None, arg(metavar="NAME")] = None
    preset: Annotated[str | None, arg(metavar="NAME")] = None
    json: bool = False


def main(arguments: list[str], rooms: Catalog) -> int:
    """Runs one request."""
    system_id, rest = take_system(arguments, "bottega run", rooms)
    system, program = rooms.get(system_id), f"bottega run {system_id}"
    line = Line(rest, program, rooms.card(system_id).sentence, system.parts)
    request, options, parts = parse_together(line, system.request, RunOptions)
    if options.output is not None:
        check_output(options.output)
    ready = load_in(
        rooms, system_id, preset=options.preset, weights=options.weights, format=options.format,
        device=options.device, dtype=options.dtype, parts=parts,
    )  # fmt: skip
    start = time.perf_counter()
    with reporting(quiet=options.json, words=options.output is None) as report:
        result = ready(request, report)
    seconds = time.perf_counter() - start
    files = _keep(result, options.output)
    if options.json:
        print(json.dumps(_record(ready, result, files, seconds), ensure_ascii=False, default=str))
        return 0
    words = [text for text in result.items() if isinstance(text, str)]
    for line in files or ([""] if words == [report.said] else words):  # what was written before our eyes only ends
        print(line)
    note(f"{time_text(seconds)}; seed {result.seed}" + (f"; again: bottega replay {files[-1]}" if files else ""))
    return 0


def check_output(path: Path) -> None:
    """Refuses, before the work, an output that cannot be written.

    Raises:
        RequestError: An extension that no result has.
        FileError: A place that cannot be written.
    """
    from bottega.results import SUFFIXES

    if path.suffix and not path.is_dir() and path.suffix.lower() not in SUFFIXES:
        raise RequestError.of("output", str(path), f"a folder or end in {', '.join(SUFFIXES)}")
    place = path.absolute()
    while not place.exists():
        place = place.parent
    if place != path.absolute() and not place.is_dir():
        raise FileError(f"cannot write {path}: {place.name} is a file, not a folder")
    if not os.access(place, os.W_OK):
        raise FileError(f"cannot write {path}: no permission for {place}; choose another output")


def _keep(result: Result, output: Path | None) -> list[Path]:
    """Saves the result where the user said; pictures have a default place, words are only printed."""
    from bottega.results import save

    if output is None and all(isinstance(item, str) for item in result.items()):
        return []
    return save(result, output or Path(FOLDER))


def _record(ready: Ready, result: Result, files: list[Path], seconds: float) -> dict[str, Any]:
    from bottega.results import origin_of

    words = [item for item in result.items() if isinstance(item, str)]
    origin = origin_of(result)
    return {
        "system": ready.id,
        "files": [str(file) for file in files],
        **({"words": words} if words else {}),
        **({"settings": settings} if (settings := dict(getattr(result, "settings", {}))) else {}),
        "seed": result.seed,
        "seconds": round(seconds, 3),
        "origin": None if origin is None else json.loads(origin.to_json()),
    }
