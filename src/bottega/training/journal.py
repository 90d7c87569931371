"""The run's log: `log.jsonl`, and TensorBoard where it is installed."""

from __future__ import annotations

import importlib.util
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from bottega.errors import BottegaError, FileError
from bottega.training.checkpoint import write_text
from bottega.training.parallel import World
from bottega.training.settings import FitSettings


class NotFiniteError(BottegaError):
    """The loss or the gradient became infinite or not a number."""


class Tensorboard:
    """TensorBoard event files; needs the `[log]` extra.

    Args:
        folder: Where the event files go.
        start: Steps done before; later figures of an earlier, killed run are hidden.
    """

    def __init__(self, folder: Path, start: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra that may not be installed

        self._folder = folder
        with _written(folder):
            self._writer = SummaryWriter(str(folder), purge_step=start + 1)

    @staticmethod
    def installed() -> bool:
        """Whether the `tensorboard` package is there."""
        return importlib.util.find_spec("tensorboard") is not None

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Records the figures of one log line."""
        with _written(self._folder):
            for name, value in figures.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes and closes the files."""
        with _written(self._folder):
            self._writer.close()


class Journal:
    """Collects the figures of every step and writes their means, one line of JSON for each interval.

    Args:
        folder: The run's folder.
        start: Steps done before; later lines of an earlier, killed run are removed.
        seconds: Training time before, in seconds.
        settings: For the batch size and the number of steps.
        world: The processes that share the run.
    """

    def __init__(self, folder: Path, *, start: int, seconds: float, settings: FitSettings, world: World) -> None:
        self.path = folder / "log.jsonl"
        self.loss: float | None = None
        self._start = self._step = start
        self._seconds_before = seconds
        self._began = self._interval_began = time.perf_counter()
        self._settings = settings
        self._world = world
        self._rate = math.nan
        self._pending: list[dict[str, Tensor]] = []
        self._tensorboard = None
        if world.writes and Tensorboard.installed():
            self._tensorboard = Tensorboard(folder / "tensorboard", start)
        if world.writes:
            self._forget_after(start)

    @property
    def seconds(self) -> float:
        """Training time in all, in seconds."""
        return self._seconds_before + time.perf_counter() - self._began

    def seconds_left(self, step: int) -> float:
        """Estimate for the steps after `step` from those that this process made, in seconds."""
        spent = time.perf_counter() - self._began
        return (self._settings.steps - step) * spent / max(step - self._start, 1)

    def add(self, figures: Mapping[str, float | Tensor], rate: float) -> None:
        """Takes the figures of the next step and its learning rate; tensors stay on their device until `write`."""
        if "loss" not in figures:
            raise KeyError(f"Recipe.step returned {sorted(figures)}, but 'loss' must be among them")
        self._pending.append({name: torch.as_tensor(value).detach().float() for name, value in figures.items()})
        self._step += 1
        self._rate = rate

    def check(self) -> None:
        """Looks at the losses and gradient norms since the last line.

        Raises:
            NotFiniteError: If one is not finite; names the step.
        """
        for name in self._pending[0] if self._pending else ():
            self._mean(name)

    def write(self) -> None:
        """Writes the means of the figures since the last line, if there are any.

        Raises:
            NotFiniteError: If a loss or gradient norm is not finite; names the step.
        """
        if not self._pending:
            return
        means = {name: self._mean(name) for name in self._pending[0]}
        now = time.perf_counter()
        speed = len(self._pending) * self._settings.batch_size / max(now - self._interval_began, 1e-9)
        self._interval_began = now
        self._pending.clear()
        self.loss = means["loss"]
        figures = {**means, "lr": self._rate, "samples_per_second": speed, "seconds": self.seconds}
        if self._world.writes:
            self._append({"step": self._step, **figures})
        if self._tensorboard is not None:
            self._tensorboard.add(self._step, figures)

    def close(self) -> None:
        """Closes the event files."""
        if self._tensorboard is not None:
            self._tensorboard.close()

    def _append(self, line: Mapping[str, float]) -> None:
        with _written(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _mean(self, name: str) -> float:
        values = self._world.mean(torch.stack([figures[name] for figures in self._pending]).cpu())
        if name.startswith(("loss", "grad_norm")) and not values.isfinite().all():
            bad = int((~values.isfinite()).nonzero()[0])
            step = self._step - len(self._pending) + bad + 1
            raise NotFiniteError(
                f"{name} is {values[bad].item()} at step {step}; lower learning_rate or clip_norm, or train in fp32; "
                f"the last checkpoint is kept"
            )
        return values.mean().item()

    def _forget_after(self, start: int) -> None:
        if not self.path.exists():
            return
        lines = self.path.read_text("utf-8").splitlines()
        kept = [line for line in lines if _step_of(line) <= start]
        write_text(self.path, "".join(f"{line}\n" for line in kept))


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Turns a full disk into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise FileError(f"{path} could not be written ({error}); free some disk space, then resume") from error


def _step_of(line: str) -> float:
    """The line's step; infinite for a line that was cut off when the process was killed."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf
