"""`bottega plan run|train ID`: what it will cost."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table
from tyro.conf import arg

from bottega.catalog import Catalog
from bottega.cli.arguments import parse, take_system
from bottega.cli.screen import output
from bottega.cli.wording import bytes_text, count_text, nearest, time_text
from bottega.errors import RequestError

if TYPE_CHECKING:
    from bottega.catalog import Plan

JOBS = ("run", "train")
SLOW = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanOptions:
    """Forecasts memory, time and disk without running anything: the real code runs once on tensors without values.

    Args:
        preset: The size; the bundled one, or the first, when it is not given.
        data: For train: a world's name or a folder; the default world when it is not given.
        steps: For train: updates of every stage; each stage's own number when it is not given.
        stages: For train: which stages.
        device: Where it would run; its speed is measured for a moment.
        json: Print JSON for machines.
    """

    preset: Annotated[str | None, arg(metavar="NAME")] = None
    data: Annotated[str | None, arg(metavar="FOLDER")] = None
    steps: Annotated[int | None, arg(metavar="INT")] = None
    stages: Annotated[tuple[str, ...], arg(metavar="NAME")] = ()
    device: Annotated[str, arg(metavar="DEVICE")] = "cpu"
    json: bool = False


def main(arguments: list[str], rooms: Catalog) -> int:
    """Prints a forecast."""
    if not arguments or arguments[0] not in JOBS:
        if arguments and arguments[0] in ("-h", "--help"):
            print("usage: bottega plan run|train ID ...\n\n`bottega plan run ID --help` lists the options.")
            return 0
        given = f"{arguments[0]!r}: {nearest(arguments[0], JOBS)}" if arguments else "nothing: there are run, train"
        raise RequestError(f"bottega plan needs a job first, but was given {given}")
    job, program = arguments[0], f"bottega plan {arguments[0]}"
    system_id, rest = take_system(arguments[1:], program, rooms)
    options = parse(PlanOptions, rest, f"{program} {system_id}")
    system = rooms.get(system_id)
    preset = options.preset or system.at_hand() or next(iter(system.presets))
    rooms.preset(system_id, preset)
    plans, rate = _plans(rooms, system_id, job, preset, options)
    if options.json:
        records = [{**asdict(plan), "seconds_at_least": plan.seconds(rate)} for plan in plans]
        print(json.dumps({"preset": preset, "flops_per_second": rate, "plans": records}, indent=2))
        return 0
    _print(plans, rate, f"{job} {system_id}, {preset}", options.device)
    return 0


def _plans(rooms: Catalog, system_id: str, job: str, preset: str, options: PlanOptions) -> tuple[list[Plan], float]:
    import torch

    from bottega.catalog import check_device, choose_stages, matmul_rate, plan_run, plan_train, with_steps

    rate = matmul_rate(check_device(options.device), torch.float32)
    if job == "run":
        return plan_run(rooms, system_id, preset), rate
    own_data = options.data is not None
    stages = choose_stages(rooms.get(system_id), system_id, options.stages, own_data=own_data)
    return plan_train(rooms, system_id, preset, with_steps(stages, options.steps), options.data), rate


def _print(plans: list[Plan], rate: float, title: str, device: str) -> None:
    console = output()
    first = plans[0]
    console.print(f"{title}: {first.parameters:,} parameters, {bytes_text(first.weights_bytes)} of weights")
    table = Table("what", "memory", "arithmetic", "time", "disk", box=None, padding=(0, 2, 0, 0))
    for plan in plans:
        work = f"{count_text(plan.flops)}FLOP" + (f" x {plan.repeats:,}" if plan.repeats > 1 else "")
        if plan.flops == 0:
            table.add_row(plan.what, "not counted: it needs weights with their tokenizer", "", "", "")
            continue
        least = plan.seconds(rate)
        took = f"{time_text(least)} to {time_text(SLOW * least)}" + ("" if plan.complete else " +")
        table.add_row(
            plan.what, bytes_text(plan.peak_bytes), work, took, bytes_text(plan.disk_bytes) if plan.disk_bytes else "-"
        )
    console.print(table)
    free = shutil.disk_usage(Path.cwd()).free
    console.print(f"measured on {device}: {rate / 1e9:,.0f} GFLOP/s in float32; disk free here: {bytes_text(free)}")
    if not all(plan.complete for plan in plans):
        console.print("+ counted up to the first value that the work asks for; what follows comes on top")
