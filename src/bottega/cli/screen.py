"""What a person sees while work goes on: a bar with an estimate on stderr, when that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bottega.room import Progress as Step
from bottega.room import Report, silent


def output() -> Console:
    """Standard output; a table is as wide as it needs where nobody looks."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


def note(text: str, *, quiet: bool = False) -> None:
    """One line on stderr for whoever watches; nothing when nobody does."""
    if not quiet and sys.stderr.isatty():
        print(text, file=sys.stderr)


@contextmanager
def bars(*, quiet: bool) -> Iterator[Progress | None]:
    """Progress bars on stderr, or None when nobody watches."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[extra]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield shown


@contextmanager
def reporting(*, quiet: bool) -> Iterator[Report]:
    """A report callback that draws a bar for each stage of a system's work."""
    with bars(quiet=quiet) as shown:
        if shown is None:
            yield silent
            return
        tasks: dict[str, TaskID] = {}

        def report(step: Step) -> None:
            if step.stage not in tasks:
                tasks[step.stage] = shown.add_task(step.stage, extra="")
            shown.update(tasks[step.stage], completed=step.step, total=step.total)

        yield report
