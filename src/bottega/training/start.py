"""The first moments of a run: the state before the first step, or the one that a checkpoint holds, and the batches."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import torch

from bottega.data import SamplerState, ShuffledSampler
from bottega.errors import RequestError
from bottega.layers import undo_preparation
from bottega.training.checkpoint import list_checkpoints, load_newest, remove_unfinished
from bottega.training.ema import Ema
from bottega.training.optimizers import optimizer_of
from bottega.training.parallel import World, replicas, share_model
from bottega.training.prefetch import prefetched
from bottega.training.randomness import batch_generator
from bottega.training.recipe import CompiledParts, OwnOptimizers, Recipe, TrainState
from bottega.training.settings import FitSettings, describe
from bottega.training.tensors import restore


def begin(recipe: Recipe, settings: FitSettings, world: World) -> TrainState:
    """The state before the first step."""
    model = recipe.model
    undo_preparation(model)  # packed copies follow a weight's version, which fused optimizers do not count up
    model.train()
    for part in model.modules():  # what is not trained also keeps its statistics and drops nothing
        parameters = list(part.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            part.eval()
    share_model(model, settings)
    optimizers: dict[str, torch.optim.Optimizer]
    if isinstance(recipe, OwnOptimizers):
        optimizers = recipe.optimizers(settings)
    else:
        optimizers = {"main": optimizer_of(recipe.parameter_groups(settings), settings)}
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


def resume_from(state: TrainState, out: Path, go_on: bool, world: World) -> tuple[Mapping[str, Any], list[str]]:
    """Restores the newest sound checkpoint into the state; returns its record (empty at a start) and warnings."""
    out.mkdir(parents=True, exist_ok=True)
    if list_checkpoints(out) and not go_on:
        raise RequestError(f"{out} already holds a training run; choose another folder, or resume it")
    if world.writes:
        remove_unfinished(out)
    snapshot, warnings = load_newest(out)
    if snapshot is None:
        return {}, warnings
    restore(state, snapshot.tensors)
    state.step = snapshot.step
    return snapshot.record, warnings + _changes(snapshot.record["settings"], describe(state.settings))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    changed = [
        f"{name} was {before.get(name)} and is {value}" for name, value in now.items() if before.get(name) != value
    ]
    return [f"the run goes on with other settings: {', '.join(changed)}"] if changed else []


def batches(
    recipe: Recipe, state: TrainState, cursor: Mapping[str, int] | None, world: World
) -> Generator[tuple[SamplerState, Any], None, None]:
    """The remaining batches of this process, each with the sampler's state after it."""
    settings = state.settings
    sampler = ShuffledSampler(len(recipe), settings.batch_size, settings.seed, world.rank, world.size)
    if cursor is not None:
        sampler.restore(SamplerState(**cursor))

    def keys() -> Generator[tuple[int, list[int], SamplerState], None, None]:
        for step in range(state.step, settings.steps):
            indices = next(sampler)
            yield step, indices, sampler.state()

    def prepare(key: tuple[int, list[int], SamplerState]) -> tuple[SamplerState, Any]:
        step, indices, after = key
        return after, recipe.batch(indices, batch_generator(settings.seed, step, world.rank))

    return prefetched(keys(), prepare, settings.workers)
