"""The catalog: finds rooms, loads and converts their weights, trains them and runs recipes again.

Importing this package imports neither a room nor torch. `load(...)` and its like work on the systems of bottega;
`load_in(rooms, ...)` and its like on any catalog.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bottega.catalog.cases import Case, cases
from bottega.catalog.ready import BUNDLED, DTYPES, NATIVE, Ready, check_device
from bottega.catalog.ready import build as build_in
from bottega.catalog.ready import convert as convert_in
from bottega.catalog.ready import load as load_in
from bottega.catalog.replays import Replayed
from bottega.catalog.replays import replay as replay_in
from bottega.catalog.rooms import Catalog, Info
from bottega.catalog.training import (
    Bundled,
    FitOptions,
    From,
    Scratch,
    StageProgress,
    Start,
    Trained,
    choose_stages,
    choose_start,
    fresh,
    with_steps,
)
from bottega.catalog.training import fit as fit_in
from bottega.room import Card, Report, System, silent

if TYPE_CHECKING:
    from torch import nn

    from bottega.catalog.plan import Plan, matmul_rate, plan_run, plan_train

__all__ = [
    "Catalog",
    "Info",
    "Case",
    "FitOptions",
    "choose_stages",
    "fresh",
    "card",
    "build",
    "get",
    "cases",
    "StageProgress",
    "From",
    "with_steps",
    "load_in",
    "Trained",
    "matmul_rate",
    "Ready",
    "choose_start",
    "info",
    "check_device",
    "fit",
    "convert",
    "DTYPES",
    "replay",
    "Plan",
    "fit_in",
    "plan_train",
    "BUNDLED",
    "build_in",
    "plan_run",
    "replay_in",
    "NATIVE",
    "ROOMS",
    "Scratch",
    "Bundled",
    "convert_in",
    "Start",
    "load",
    "systems",
    "Replayed",
]

ROOMS = Catalog()
_PLANS = ("Plan", "matmul_rate", "plan_run", "plan_train")


def __getattr__(name: str) -> Any:
    """The forecasts, which need torch to be imported."""
    if name not in _PLANS:
        raise AttributeError(f"module 'bottega.catalog' has no attribute {name!r}")
    return importlib.import_module("bottega.catalog.plan").__dict__[name]


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
    return build_in(ROOMS, system_id, preset, device)


def load(
    system_id: str,
    *,
    preset: str | None = None,
    weights: str | Path | None = None,
    format: str | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    parts: Mapping[str, str] | None = None,
) -> Ready:
    """A system with weights in it, ready to be called. See `bottega.catalog.ready.load`."""
    return load_in(
        ROOMS, system_id, preset=preset, weights=weights, format=format, device=device, dtype=dtype, parts=parts
    )


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
    return convert_in(
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
    chosen = choose_stages(system, system_id, stages, own_data=own_data)
    return fit_in(
        ROOMS,
        system_id,
        data,
        preset=preset,
        out=Path(out) if out is not None else Path("runs") / f"{system_id}-{preset}",
        stages=with_steps(chosen, steps),
        start=start or choose_start(system, preset, own_data=own_data),
        options=options,
    )


def replay(path: str | Path, *, weights: str | Path | None = None, report: Report = silent) -> Replayed:
    """Runs the recipe inside a file again and compares. See `bottega.catalog.replays.replay`."""
    return replay_in(ROOMS, path, weights=weights, report=report)
