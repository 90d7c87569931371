"""What a person sees while work goes on: a bar with an estimate on stderr, when that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bottega.room import Progress as Step


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


class Watcher:
    """A report callback that draws a bar for each stage of a system's work, or shows the text that it writes.

    Args:
        shown: Where bars go; None draws none.
        words: Whether text is shown on stdout while it is written. The bars end with its first letters.
    """

    def __init__(self, shown: Progress | None, *, words: bool) -> None:
        self._shown, self._words = shown, words
        self._tasks: dict[str, TaskID] = {}
        self.said = ""
        """The text that was shown."""

    def __call__(self, step: Step) -> None:
        """Shows a step."""
        if self._words and step.text:
            if self._shown is not None:
                self._shown.stop()
                self._shown = None
            self.said += step.text
            print(step.text, end="", flush=True)
        if self._shown is None:
            return
        if step.stage not in self._tasks:
            self._tasks[step.stage] = self._shown.add_task(step.stage, extra="")
        self._shown.update(self._tasks[step.stage], completed=step.step, total=step.total)


@contextmanager
def reporting(*, quiet: bool, words: bool = False) -> Iterator[Watcher]:
    """A report callback for a system's work.

    Args:
        quiet: Show nothing.
        words: Show text while it is written, when stdout is a terminal.
    """
    with bars(quiet=quiet) as shown:
        yield Watcher(shown, words=words and not quiet and sys.stdout.isatty())
