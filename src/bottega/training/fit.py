"""`fit`: the one training loop. What is learned, and how one update goes, is the recipe's business."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bottega.data import SamplerState
from bottega.errors import Cancelled
from bottega.training.batches import to_device
from bottega.training.checkpoint import Snapshot, list_checkpoints, save_checkpoint
from bottega.training.compiled import sound_cache
from bottega.training.interruption import Interruption
from bottega.training.journal import Journal
from bottega.training.parallel import World, enter_world
from bottega.training.previews import save_previews
from bottega.training.progress import FitResult, TrainProgress, no_report
from bottega.training.randomness import mix
from bottega.training.recipe import Previewing, Recipe, TrainState
from bottega.training.schedules import rate_factor
from bottega.training.settings import FitSettings, describe, settings_hash
from bottega.training.start import batches, begin, resume_from
from bottega.training.tensors import collect


def fit(
    recipe: Recipe,
    settings: FitSettings,
    out: Path,
    *,
    report: Callable[[TrainProgress], None] = no_report,
    resume: bool = True,
) -> FitResult:
    """Trains a recipe's model in place.

    Args:
        recipe: What to train and how. Its model is where it should be trained (CPU or GPU).
        settings: How long, how fast, how often.
        out: Folder for `step-...` checkpoints, `log.jsonl` and `previews/`.
        report: Called after every step; raises `Cancelled` to stop.
        resume: Whether to go on from the newest checkpoint in `out`. The result has the same bits as a run that was
            never stopped.

    Returns:
        The trained state and the last checkpoint.

    Raises:
        Cancelled: After Ctrl-C, SIGTERM or a cancelling callback; a checkpoint of the last step was written.
        RequestError: If `out` holds a run and `resume` is false, or the settings do not fit the launch.
        FileError: If the disk is full, or every checkpoint is damaged.
        NotFiniteError: If the loss is not finite; names the step. The last checkpoint is kept.
    """
    device = next(recipe.model.parameters()).device
    with enter_world(settings, device) as world, Interruption() as interruption, _own_randomness(device):
        state = begin(recipe, settings, world)
        record, warnings = resume_from(state, out, resume, world)
        seconds = record.get("seconds", 0.0)
        with (
            closing(Journal(out, start=state.step, seconds=seconds, settings=settings, world=world)) as journal,
            closing(batches(recipe, state, record.get("sampler"), world)) as stream,
        ):
            stop = False
            for cursor, batch in stream:
                with sound_cache(compiles=settings.compile):
                    figures = _update(recipe, state, batch, world)
                journal.add(figures, _rate(state))
                if _due(state, settings.log_every):
                    journal.write()
                stop = _told_to_stop(state, journal, report, interruption, world)
                if stop or _due(state, settings.save_every):
                    journal.check()
                    _save(state, out, cursor, journal.seconds, world)
                if _due(state, settings.preview_every):
                    _preview(recipe, state, out, world)
                if stop:
                    journal.write()
                    break
        if stop and state.step < settings.steps:
            done = f"stopped at step {state.step} of {settings.steps}"
            raise Cancelled(f"{done}; the same command goes on from there")
        last = list_checkpoints(out)[-1]
        return FitResult(
            state=state, loss=journal.loss, seconds=journal.seconds, checkpoint=last, warnings=tuple(warnings)
        )


def _update(recipe: Recipe, state: TrainState, batch: Any, world: World) -> Mapping[str, float | Tensor]:  # noqa: ANN401
    """One step of the recipe, with the rate and the randomness of that step, and the average after it."""
    settings = state.settings
    seed = mix(settings.seed, state.step, world.rank, 1)
    torch.manual_seed(seed)
    state.generator.manual_seed(mix(seed))
    factor = rate_factor(settings.schedule, state.step, settings.steps, settings.warmup_steps)
    for optimizer in state.optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
    figures = recipe.step(state, to_device(batch, world.device))
    if state.ema is not None:
        state.ema.update(state.model, state.step)
    state.step += 1
    return figures


def _rate(state: TrainState) -> float:
    return next(iter(state.optimizers.values())).param_groups[0]["lr"]


def _due(state: TrainState, every: int) -> bool:
    """Whether something that happens every so many steps, and after the last one, happens now."""
    return state.step == state.settings.steps or (every > 0 and state.step % every == 0)


def _told_to_stop(
    state: TrainState,
    journal: Journal,
    report: Callable[[TrainProgress], None],
    interruption: Interruption,
    world: World,
) -> bool:
    """Reports progress; true after Ctrl-C, SIGTERM or a cancelling callback in any process."""
    if world.writes:
        total = state.settings.steps
        left = journal.seconds_left(state.step)
        try:
            report(TrainProgress(step=state.step, total=total, loss=journal.loss, seconds_left=left))
        except Cancelled:
            interruption.asked = True
    if world.size > 1 and not _due(state, state.settings.log_every):
        return False  # processes agree at the logged steps only: it makes a GPU wait
    return world.any(interruption.asked)


def _save(state: TrainState, out: Path, cursor: SamplerState, seconds: float, world: World) -> None:
    tensors = collect(state, kept=world.writes)
    if world.writes:
        record = {
            "sampler": asdict(cursor),
            "seconds": seconds,
            "processes": world.size,
            "settings": describe(state.settings),
            "settings_sha256": settings_hash(state.settings),
        }
        save_checkpoint(out, Snapshot(step=state.step, tensors=tensors, record=record), state.settings.keep)
    world.wait()


def _preview(recipe: Recipe, state: TrainState, out: Path, world: World) -> None:
    if state.settings.preview_every == 0 or not isinstance(recipe, Previewing):
        return
    averaged = nullcontext() if state.ema is None else state.ema.applied(state.model)
    with averaged, torch.no_grad():
        pictures = recipe.preview(state)
    if world.writes:
        save_previews(out, state.step, pictures)


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Gives torch's default generators, which `fit` seeds before every step, back as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield
