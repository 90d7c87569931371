"""The catalog: finds rooms, loads and converts their weights, trains them and runs recipes again.

Importing this package imports neither a room nor torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bottega.catalog import ready as _ready
from bottega.catalog import replays as _replays
from bottega.catalog import training as _training
from bottega.catalog.ready import BUNDLED, DTYPES, NATIVE, Ready
from bottega.catalog.replays import Replayed
from bottega.catalog.rooms import Catalog, Info
from bottega.catalog.training import Bundled, FitOptions, From, Scratch, StageProgress, Start, Trained
from bottega.room import Card, Report, System, silent

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "BUNDLED",
    "DTYPES",
    "NATIVE",
    "ROOMS",
    "Bundled",
    "Catalog",
    "FitOptions",
    "From",
    "Info",
    "Ready",
    "Replayed",
    "Scratch",
    "StageProgress",
    "Start",
    "Trained",
    "build",
    "card",
    "convert",
    "fit",
    "get",
    "info",
    "load",
    "replay",
    "systems",
]

ROOMS = Catalog()


def systems() -> list[str]:
    """The ids of all systems, sorted."""
    return ROOMS.systems()


def card(system_id: str) -> Card:
    """A system's card."""
    return ROOMS.card(system_id)


def get(system_id: str) -> System:
    """A system's record."""
    return ROOMS.get(system_id)


def info(system_id: str) -> Info:
    """Everything to know about a system before using it."""
    return ROOMS.info(system_id)


def build(system_id: str, preset: str, device: str = "cpu") -> nn.Module:
    """A system of a published size, freshly initialised; on "meta" it takes no memory."""
    return _ready.build(ROOMS, system_id, preset, device)


def load(
    system_id: str,
    *,
    preset: str | None = None,
    weights: str | Path | None = None,
    format: str | None = None,
    device: str = "cpu",
    dtype: str | None = None,
) -> Ready:
    """A system with weights in it, ready to be called. See `bottega.catalog.ready.load`."""
    return _ready.load(ROOMS, system_id, preset=preset, weights=weights, format=format, device=device, dtype=dtype)


def convert(
    system_id: str,
    source: str | Path,
    target: str | Path,
    *,
    source_format: str = NATIVE,
    target_format: str = NATIVE,
    preset: str | None = None,
) -> Path:
    """Weights from one format to another. See `bottega.catalog.ready.convert`."""
    return _ready.convert(
        ROOMS, system_id, source, target,
        source_format=source_format, target_format=target_format, preset=preset,
    )  # fmt: skip


def fit(
    system_id: str,
    data: str | Path | None = None,
    *,
    preset: str = "tiny",
    steps: int | None = None,
    out: str | Path | None = None,
    stages: tuple[str, ...] | None = None,
    start: Start | None = None,
    options: FitOptions = FitOptions(),  # noqa: B008 - frozen
) -> Trained:
    """Trains a system from scratch on a world, or fine-tunes it on a folder of one's own.

    Args:
        system_id: Catalogue id.
        data: A world's name or a folder; None takes the default world.
        preset: A size's name.
        steps: Updates of every stage; None keeps each stage's own.
        out: Folder for checkpoints, log, previews and weights; None takes `runs/<system>-<preset>`.
        stages: Names of stages; None takes those that fine-tune when `data` is given, else all.
        start: Where to start; None takes the bundled weights when `data` is given and the size has them, else scratch.
        options: Changes to the stages' settings.

    Returns:
        Where the weights are, with losses and times.
    """
    system, own_data = ROOMS.get(system_id), data is not None
    chosen = _training.choose_stages(system, system_id, stages, own_data=own_data)
    return _training.fit(
        ROOMS,
        system_id,
        data,
        preset=preset,
        out=Path(out) if out is not None else Path("runs") / f"{system_id}-{preset}",
        stages=_training.with_steps(chosen, steps),
        start=start or _training.choose_start(system, preset, own_data=own_data),
        options=options,
    )


def replay(path: str | Path, *, weights: str | Path | None = None, report: Report = silent) -> Replayed:
    """Runs the recipe inside a file again and compares. See `bottega.catalog.replays.replay`."""
    return _replays.replay(ROOMS, path, weights=weights, report=report)
