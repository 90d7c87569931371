"""`fit`: the one training loop. What is learned, and how one update goes, is the recipe's business."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bottega.data import SamplerState, ShuffledSampler
from bottega.errors import Cancelled, RequestError
from bottega.training.batches import to_device
from bottega.training.checkpoint import Snapshot, list_checkpoints, load_newest, remove_unfinished, save_checkpoint
from bottega.training.ema import Ema
from bottega.training.interruption import Interruption
from bottega.training.journal import Journal
from bottega.training.optimizers import adamw
from bottega.training.parallel import World, enter_world, replicas, share_model
from bottega.training.prefetch import prefetched
from bottega.training.previews import save_previews
from bottega.training.randomness import batch_generator, mix
from bottega.training.recipe import CompiledParts, OwnOptimizers, Previewing, Recipe, TrainState
from bottega.training.schedules import rate_factor
from bottega.training.settings import FitSettings, describe, settings_hash
from bottega.training.tensors import collect, restore


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainProgress:
    """Where a run is, handed to a `report` callback after every step. The callback may raise `Cancelled`.

    Args:
        step: Updates done, from 1.
        total: Updates in all.
        loss: Mean loss of the last logged interval; nan before the first.
        seconds_left: Estimate.
        stage: What is being done: "train" or "save".
    """

    step: int
    total: int
    loss: float
    seconds_left: float
    stage: str = "train"


@dataclass(frozen=True, kw_only=True, slots=True)
class FitResult:
    """What a finished run leaves.

    Args:
        state: The training state; `state.model` holds the live weights.
        loss: Mean loss of the last logged interval.
        seconds: Training time in all, resumed parts included.
        checkpoint: The last checkpoint's folder.
        warnings: Damaged checkpoints that were passed over.
    """

    state: TrainState
    loss: float
    seconds: float
    checkpoint: Path
    warnings: tuple[str, ...] = ()

    def weights(self) -> dict[str, Tensor]:
        """The whole state dict on the CPU, averaged where an average was kept: the weights to use."""
        files = collect(self.state, kept=True)
        return {**files["model"], **files.get("ema", {})}


def no_report(progress: TrainProgress) -> None:
    """A report callback that shows nothing."""


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
        state = _begin(recipe, settings, world)
        record, warnings = _resume(state, out, resume, world)
        seconds = record.get("seconds", 0.0)
        with (
            closing(Journal(out, start=state.step, seconds=seconds, settings=settings, world=world)) as journal,
            closing(_batches(recipe, state, record.get("sampler"), world)) as stream,
        ):
            stop = False
            for cursor, batch in stream:
                journal.add(_update(recipe, state, batch, world), _rate(state))
                if _due(state, settings.log_every):
                    journal.write()
                stop = _told_to_stop(state, journal, report, interruption, world)
                if stop or _due(state, settings.save_every):
                    journal.write()
                    _save(state, out, cursor, journal.seconds, world)
                if _due(state, settings.preview_every):
                    _preview(recipe, state, out, world)
                if stop:
                    break
        if stop and state.step < settings.steps:
            done = f"stopped at step {state.step} of {settings.steps}"
            raise Cancelled(f"{done}; the same command goes on from there")
        last = list_checkpoints(out)[-1]
        return FitResult(
            state=state, loss=journal.loss, seconds=journal.seconds, checkpoint=last, warnings=tuple(warnings)
        )


def _begin(recipe: Recipe, settings: FitSettings, world: World) -> TrainState:
    """The state before the first step."""
    model = recipe.model
    model.train()
    for part in model.modules():  # what is not trained also keeps its statistics and drops nothing
        parameters = list(part.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            part.eval()
    share_model(model, settings)
    if isinstance(recipe, OwnOptimizers):
        optimizers = recipe.optimizers(settings)
    else:
        optimizers = {"main": adamw(recipe.parameter_groups(settings), settings)}
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    if settings.compile:
        for part in recipe.compiled_parts() if isinstance(recipe, CompiledParts) else [model]:
            part.compile()
    return TrainState(
        model=model,
        ema=None if settings.ema_decay is None else Ema(model, settings.ema_decay),
        optimizers=optimizers,
        step=0,
        generator=torch.Generator(world.device),
        settings=settings,
        replicas=replicas(optimizers, settings),
    )


def _resume(state: TrainState, out: Path, resume: bool, world: World) -> tuple[Mapping[str, Any], list[str]]:
    """Restores the newest sound checkpoint into the state; returns its record (empty at a start) and warnings."""
    out.mkdir(parents=True, exist_ok=True)
    if list_checkpoints(out) and not resume:
        raise RequestError(f"{out} already holds a training run; choose another folder, or resume it")
    if world.writes:
        remove_unfinished(out)
    snapshot, warnings = load_newest(out)
    if snapshot is None:
        return {}, warnings
    restore(state, snapshot.tensors)
    state.step = snapshot.step
    return snapshot.record, warnings


def _batches(
    recipe: Recipe, state: TrainState, cursor: Mapping[str, int] | None, world: World
) -> Iterator[tuple[SamplerState, Any]]:
    """The remaining batches of this process, each with the sampler's state after it."""
    settings = state.settings
    sampler = ShuffledSampler(len(recipe), settings.batch_size, settings.seed, world.rank, world.size)
    if cursor is not None:
        sampler.restore(SamplerState(**cursor))

    def keys() -> Iterator[tuple[int, list[int], SamplerState]]:
        for step in range(state.step, settings.steps):
            indices = next(sampler)
            yield step, indices, sampler.state()

    def prepare(key: tuple[int, list[int], SamplerState]) -> tuple[SamplerState, Any]:
        step, indices, after = key
        return after, recipe.batch(indices, batch_generator(settings.seed, step, world.rank))

    return prefetched(keys(), prepare, settings.workers)


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
    asked = interruption.asked
    if world.writes:
        total = state.settings.steps
        left = journal.seconds_left(state.step)
        try:
            report(TrainProgress(step=state.step, total=total, loss=journal.loss, seconds_left=left))
        except Cancelled:
            asked = True
    return world.any(asked)


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
