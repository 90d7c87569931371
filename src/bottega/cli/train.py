"""`bottega train ID`: trains a system; Ctrl-C leaves a checkpoint that the same command goes on from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.progress import TaskID
from tyro.conf import arg

from bottega.catalog import (
    NATIVE,
    Bundled,
    Catalog,
    FitOptions,
    From,
    Scratch,
    StageProgress,
    Start,
    choose_stages,
    choose_start,
    fit_in,
    with_steps,
)
from bottega.cli.arguments import Line, parse_together, take_system
from bottega.cli.screen import bars
from bottega.cli.wording import time_text
from bottega.errors import RequestError

SCRATCH, BUNDLED = "scratch", "bundled"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """How to train.

    Args:
        data: A world's name, or a folder of your own files; the system's default world when it is not given.
        preset: The size.
        steps: Updates of every stage; each stage's own number when it is not given.
        out: Folder for checkpoints, log, previews and weights; runs/ID-PRESET when it is not given.
        stages: Which stages; those that fine-tune when --data is given, else all.
        start: "scratch", "bundled", or a weights file. Own data starts from the bundled weights where there are any.
        start_format: The format of a weights file to start from.
        resume: Go on from what the folder holds.
        batch_size: Samples in one update.
        learning_rate: Peak rate.
        seed: Source of all randomness.
        accumulate: Parts that a batch is computed in, to save memory.
        precision: fp32 or bf16.
        compile: Run the model through torch.compile.
        device: "cpu", "cuda", "cuda:1" or "mps".
        distributed: Share the work between the processes that torchrun started.
    """

    data: Annotated[str | None, arg(metavar="FOLDER")] = None
    preset: Annotated[str, arg(metavar="NAME")] = "tiny"
    steps: Annotated[int | None, arg(metavar="INT")] = None
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None
    stages: Annotated[tuple[str, ...], arg(metavar="NAME")] = ()
    start: Annotated[str | None, arg(metavar="scratch|bundled|FILE")] = None
    start_format: Annotated[str, arg(metavar="NAME")] = NATIVE
    resume: bool = True
    batch_size: Annotated[int | None, arg(metavar="INT")] = None
    learning_rate: Annotated[float | None, arg(metavar="FLOAT")] = None
    seed: Annotated[int | None, arg(metavar="INT")] = None
    accumulate: Annotated[int | None, arg(metavar="INT")] = None
    precision: Annotated[Literal["fp32", "bf16"] | None, arg(metavar="fp32|bf16")] = None
    compile: Annotated[Literal["yes", "no"] | None, arg(metavar="yes|no")] = None
    device: Annotated[str, arg(metavar="DEVICE")] = "cpu"
    distributed: bool = False


def main(arguments: list[str], rooms: Catalog) -> int:
    """Trains and says where the weights are."""
    system_id, rest = take_system(arguments, "bottega train", rooms)
    system = rooms.get(system_id)
    line = Line(rest, f"bottega train {system_id}", _DESCRIPTION, system.parts)
    kinds = (TrainOptions,) if system.options is None else (system.options, TrainOptions)
    *choices, options, parts = parse_together(line, *kinds, renamed={"steps": "updates"})
    own_data = options.data is not None
    stages = with_steps(choose_stages(system, system_id, options.stages, own_data=own_data), options.steps)
    rooms.preset(system_id, options.preset)
    with _reporting() as report:
        trained = fit_in(
            rooms,
            system_id,
            options.data,
            preset=options.preset,
            out=options.out or Path("runs") / f"{system_id}-{options.preset}",
            stages=stages,
            start=_start(options) or choose_start(system, options.preset, own_data=own_data),
            options=dataclasses.replace(
                _fit_options(options, report), parts=parts, choices=_changed(choices[0]) if choices else None
            ),
        )
    for name, loss in trained.losses.items():
        said = "complete already" if loss is None else f"loss {loss:.4g}"
        print(f"{name}: {said}, {time_text(trained.seconds[name])} in all")
    for warning in trained.warnings:
        print(f"warning: {warning}")
    print(f"{trained.weights}\nrun it: bottega run {system_id} --weights {trained.weights} ...")
    return 0


_DESCRIPTION = "Trains a system on a bundled world, or on your own files. `bottega plan train ID` says what it costs."


def _changed(choices: Any) -> Any:
    """The system's own options, or None where all are as they come."""
    return None if choices == type(choices)() else choices


def _start(options: TrainOptions) -> Start | None:
    match options.start:
        case None:
            return None
        case "scratch":
            return Scratch(seed=options.seed or 0)
        case "bundled":
            return Bundled()
        case path:
            return From(weights=path, format=options.start_format)


def _fit_options(options: TrainOptions, report: Callable[[StageProgress], None]) -> FitOptions:
    from bottega.training import Precision

    if options.seed is not None and options.seed < 0:
        raise RequestError.of("seed", options.seed, "at least 0")
    return FitOptions(
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
        accumulate=options.accumulate,
        precision=None if options.precision is None else Precision(options.precision),
        compile=None if options.compile is None else options.compile == "yes",
        device=options.device,
        resume=options.resume,
        distributed=options.distributed,
        report=report,
    )


@contextmanager
def _reporting() -> Iterator[Callable[[StageProgress], None]]:
    """A callback that draws a bar for each stage, with its loss and an estimate of the time left."""
    with bars(quiet=False) as shown:
        tasks: dict[str, TaskID] = {}

        def report(progress: StageProgress) -> None:
            if shown is None:
                return
            name, at = progress.stage, progress.fit
            if name not in tasks:
                tasks[name] = shown.add_task(f"{name} ({progress.number} of {progress.stages})", extra="")
            shown.update(
                tasks[name], completed=at.step, total=at.total, extra="" if at.loss is None else f"loss {at.loss:.4g}"
            )

        yield report
