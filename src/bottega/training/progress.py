"""What `fit` says while it runs, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bottega.training.checkpoint import load_checkpoint
from bottega.training.recipe import TrainState


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainProgress:
    """Where a run is, handed to a `report` callback after every step. The callback may raise `Cancelled`.

    Args:
        step: Updates done, from 1.
        total: Updates in all.
        loss: Mean loss of the last logged interval; None before the first.
        seconds_left: Estimate.
        stage: What is being done.
    """

    step: int
    total: int
    loss: float | None
    seconds_left: float
    stage: str = "train"


@dataclass(frozen=True, kw_only=True, slots=True)
class FitResult:
    """What a finished run leaves.

    Args:
        state: The training state; `state.model` holds the live weights.
        loss: Mean loss of the last logged interval; None when the run was already complete.
        seconds: Training time in all, resumed parts included.
        checkpoint: The last checkpoint's folder.
        warnings: What a person should know: damaged checkpoints passed over, settings changed on resuming.
    """

    state: TrainState
    loss: float | None
    seconds: float
    checkpoint: Path
    warnings: tuple[str, ...] = ()

    def weights(self) -> dict[str, Tensor]:
        """The whole state dict on the CPU, averaged where an average was kept: the weights to use.

        Read from the checkpoint, so any process may ask, however the state is split.
        """
        files = load_checkpoint(self.checkpoint).tensors
        return {**files["model"], **files.get("ema", {})}


def no_report(progress: TrainProgress) -> None:
    """A report callback that shows nothing."""
