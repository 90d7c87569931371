"""`bottega eval ID`: the paper's figures on the bundled world."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated

from rich.table import Table
from tyro.conf import arg

from bottega.catalog import Catalog, load_in
from bottega.cli.arguments import Line, parse_together, take_system
from bottega.cli.screen import output, reporting
from bottega.errors import RequestError


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalOptions:
    """What to measure on, and with which weights.

    Args:
        limit: Samples to measure on, at least 1.
        seed: Source of randomness, at least 0.
        device: "cpu", "cuda", "cuda:1" or "mps".
        dtype: Type of the parameters: float32, bfloat16, float16 or float64.
        weights: As for `bottega run`.
        format: As for `bottega run`.
        preset: As for `bottega run`.
        json: Print JSON for machines, and show no progress.
    """

    limit: int = 256
    seed: int = 0
    device: Annotated[str, arg(metavar="DEVICE")] = "cpu"
    dtype: Annotated[str | None, arg(metavar="TYPE")] = None
    weights: Annotated[str | None, arg(metavar="PATH")] = None
    format: Annotated[str | None, arg(metavar="NAME")] = None
    preset: Annotated[str | None, arg(metavar="NAME")] = None
    json: bool = False

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise RequestError.of("limit", self.limit, "at least 1")
        if not 0 <= self.seed < 2**63:
            raise RequestError.of("seed", self.seed, "from 0 to 2^63 - 1")


_DESCRIPTION = "Measures a system, each figure beside a baseline and a control with shuffled conditions."


def main(arguments: list[str], rooms: Catalog) -> int:
    """Measures and prints a table."""
    system_id, rest = take_system(arguments, "bottega eval", rooms)
    system = rooms.get(system_id)
    line = Line(rest, f"bottega eval {system_id}", _DESCRIPTION, system.parts)
    options, parts = parse_together(line, EvalOptions)
    evaluate = system.evaluate
    if evaluate is None:
        raise RequestError(f"{system_id} has no evaluation")
    ready = load_in(
        rooms, system_id, preset=options.preset, weights=options.weights, format=options.format,
        device=options.device, dtype=options.dtype, parts=parts,
    )  # fmt: skip
    with reporting(quiet=options.json) as report:
        measures = evaluate(ready.model, options.seed, options.limit, report)
    if options.json:
        print(json.dumps({name: asdict(measure) for name, measure in measures.items()}))
        return 0
    table = Table(
        "measure", "value", "baseline", "control", "unit", "better", "samples", box=None, padding=(0, 2, 0, 0)
    )
    for name, measure in measures.items():
        figures = (measure.value, measure.baseline, measure.control)
        shown = ("-" if figure is None else f"{figure:.4g}" for figure in figures)
        better = "higher" if measure.higher_is_better else "lower"
        table.add_row(name, *shown, measure.unit, better, str(measure.samples))
    output().print(table)
    return 0
