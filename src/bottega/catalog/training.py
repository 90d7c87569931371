"""Training a system by its id: stages in order, each resumable, weights at the end."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from bottega.catalog.parts import Part, choose_parts, connect
from bottega.catalog.ready import NATIVE, Ready, check_device, load_plain
from bottega.catalog.rooms import Catalog
from bottega.errors import RequestError
from bottega.room import Stage, System

if TYPE_CHECKING:
    from torch import nn

    from bottega.training import FitResult, FitSettings, Precision, Recipe, TrainProgress


@dataclass(frozen=True, kw_only=True, slots=True)
class Scratch:
    """Starts from fresh random weights.

    Args:
        seed: Of the initialisation.
    """

    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundled:
    """Starts from the weights that come with the package."""


@dataclass(frozen=True, kw_only=True, slots=True)
class From:
    """Starts from given weights.

    Args:
        weights: A file, folder or hub id.
        format: Its format.
    """

    weights: str | Path
    format: str = NATIVE


Start = Scratch | Bundled | From


@dataclass(frozen=True, kw_only=True, slots=True)
class StageProgress:
    """Progress of training. The callback that receives it may raise `Cancelled`.

    Args:
        stage: The stage's name.
        number: Its number among the stages that run, from 1.
        stages: How many run.
        fit: Where the stage is.
    """

    stage: str
    number: int
    stages: int
    fit: TrainProgress


def _quiet(progress: StageProgress) -> None:
    """Shows nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FitOptions:
    """What to change about every stage's own settings; None keeps them.

    Args:
        batch_size: Samples in one update.
        learning_rate: Peak rate.
        seed: Source of all randomness.
        accumulate: Parts that a batch is computed in, to save memory.
        precision: Arithmetic of the forward and backward pass.
        compile: Whether to run the model through torch.compile.
        device: Where to train.
        resume: Whether to go on from what `out` holds.
        distributed: Whether the processes of `torchrun` share the work.
        report: Called after every update.
        parts: Other systems to work with than the preset names; see `bottega.catalog.load`.
        choices: An instance of the system's own `options`; None keeps what the preset says.
    """

    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int | None = None
    accumulate: int | None = None
    precision: Precision | None = None
    compile: bool | None = None
    device: str = "cpu"
    resume: bool = True
    distributed: bool = False
    report: Callable[[StageProgress], None] = _quiet
    parts: Mapping[str, str] = field(default_factory=dict)
    choices: Any = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What a training leaves.

    Args:
        weights: A file of bottega's own format, for `load(..., weights=...)`.
        losses: The last logged loss of every stage, by name; None where the stage was complete already.
        seconds: Training time of every stage, by name.
        warnings: What went less than well.
    """

    weights: Path
    losses: dict[str, float | None]
    seconds: dict[str, float]
    warnings: tuple[str, ...] = ()


@runtime_checkable
class _Finishing(Protocol):
    """A recipe with something to do once, when its stage is over."""

    def finish(self) -> None: ...


def fit(
    catalog: Catalog,
    system_id: str,
    data: str | Path | None,
    *,
    preset: str,
    out: Path,
    stages: tuple[Stage, ...],
    start: Start,
    options: FitOptions,
) -> Trained:
    """Trains a system.

    Args:
        catalog: The rooms.
        system_id: Catalogue id.
        data: A world's name or the user's folder; None takes the default world.
        preset: A size's name.
        out: Folder for checkpoints, logs, previews and the weights.
        stages: What to train, in order; see `choose_stages`.
        start: Which weights to start from; see `choose_start`.
        options: Changes to the stages' settings.

    Raises:
        RequestError: An option cannot be used, or `out` holds another run.
        FileError: The data cannot be read, or the disk is full.
        Cancelled: It was stopped; the same call goes on from there.
    """
    system = catalog.get(system_id)
    device = check_device(options.device)
    open_source = system.open_source
    if open_source is None:
        raise RequestError(f"{system_id} cannot open training data")
    model, config, assets = _starting_model(catalog, system_id, preset, start, options)
    settings = [_settings(stage, options) for stage in stages]
    source = open_source(data)
    run = {"system": system_id, "preset": preset, "data": str(data), "start": repr(start)}
    run |= {name: value for name, value in options.parts.items()}
    run |= {} if options.choices is None else {"choices": repr(options.choices)}
    _claim(out, run, options.resume)
    model.to(device)
    results: dict[str, FitResult] = {}
    for number, (stage, stage_settings) in enumerate(zip(stages, settings, strict=True), 1):
        tell = partial(_tell, options.report, stage.name, number, len(stages))
        results[stage.name] = _run_stage(stage.recipe(model, source), stage_settings, out / stage.name, tell, options)
    path = out / f"{system_id}-{preset}.safetensors"
    if int(os.environ.get("RANK", "0")) == 0:
        _save(system, system_id, model, config, assets, path)
    return Trained(
        weights=path,
        losses={name: result.loss for name, result in results.items()},
        seconds={name: result.seconds for name, result in results.items()},
        warnings=tuple(text for result in results.values() for text in result.warnings),
    )


def _run_stage(
    recipe: Recipe, settings: FitSettings, out: Path, tell: Callable[[TrainProgress], None], options: FitOptions
) -> FitResult:
    """Trains one stage and leaves its (averaged, where kept) weights in the model."""
    from bottega.training import fit as fit_stage
    from bottega.weights import load_into

    result = fit_stage(recipe, settings, out, report=tell, resume=options.resume)
    load_into(recipe.model, result.weights(), source=out.name)
    if isinstance(recipe, _Finishing):
        recipe.finish()
    return result


def _tell(
    report: Callable[[StageProgress], None], stage: str, number: int, stages: int, progress: TrainProgress
) -> None:
    report(StageProgress(stage=stage, number=number, stages=stages, fit=progress))


def choose_stages(
    system: System, system_id: str, names: tuple[str, ...] | None, *, own_data: bool
) -> tuple[Stage, ...]:
    """The stages of a training: those named, else those that fine-tune on own data, else all.

    Raises:
        RequestError: No such stage, or none that fits.
    """
    known = {stage.name: stage for stage in system.stages}
    if not known:
        raise RequestError(f"{system_id} cannot be trained")
    for name in names or ():
        if name not in known:
            raise RequestError.of("stages", name, f"some of {', '.join(known)}")
    if names:
        return tuple(stage for stage in system.stages if stage.name in names)
    chosen = tuple(stage for stage in system.stages if stage.finetune or not own_data)
    if not chosen:
        raise RequestError(f"{system_id} has no stage that fine-tunes; name the stages: {', '.join(known)}")
    return chosen


def choose_start(system: System, preset: str, *, own_data: bool) -> Start:
    """Own data fine-tunes the bundled weights where the size has them; anything else starts from scratch."""
    return Bundled() if own_data and system.bundled == preset else Scratch()


def _starting_model(
    catalog: Catalog, system_id: str, preset: str, start: Start, options: FitOptions
) -> tuple[nn.Module, Any, dict[str, str]]:
    """The model on the CPU (its parts on the training's device), its configuration and its assets.

    Training takes plain linear layers, and torch.compile sees plain layers.
    """
    system = catalog.get(system_id)
    match start:
        case Scratch(seed=seed):
            config = catalog.preset(system_id, preset).config
            if options.choices is not None and system.configure is not None:
                config = system.configure(config, options.choices)
            return *fresh(catalog, system_id, config, seed, options), {}
        case Bundled():
            weights, format = None, None
        case From(weights=weights, format=format):
            pass
    if options.choices is not None:
        raise RequestError(f"{options.choices} cannot change weights that are there already; start from scratch")
    ready = load_plain(
        catalog, system_id, preset=preset, weights=weights, format=format, device=options.device, parts=options.parts
    )
    ready.model.train()
    return ready.model.to("cpu"), ready.config, ready.assets


def fresh(
    catalog: Catalog,
    system_id: str,
    config: Any,
    seed: int,
    options: FitOptions = FitOptions(),  # noqa: B008 - frozen
) -> tuple[nn.Module, Any]:
    """A model with random weights and loaded parts, and its configuration, which names them."""
    import torch

    system = catalog.get(system_id)
    config, parts = choose_parts(system, system_id, config, options.parts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = system.build(config)

    def open_part(part: Part) -> Ready:
        return load_plain(catalog, part.id, preset=part.preset, weights=part.weights, device=options.device)

    connect(catalog, system, model, parts, open_part)
    return model, config


def _settings(stage: Stage, options: FitOptions) -> FitSettings:
    """The stage's settings with the user's changes."""
    from bottega.training import Ddp

    names = ("batch_size", "learning_rate", "seed", "accumulate", "precision", "compile")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.distributed:
        given["parallel"] = Ddp(find_unused=True)
    return dataclasses.replace(stage.settings, **given)


def with_steps(stages: tuple[Stage, ...], steps: int | None) -> tuple[Stage, ...]:
    """The same stages, each of so many updates; a warm-up longer than a tenth of them shrinks to that."""
    if steps is None:
        return stages
    return tuple(
        dataclasses.replace(
            stage,
            settings=dataclasses.replace(
                stage.settings, steps=steps, warmup_steps=min(stage.settings.warmup_steps, max(0, steps) // 10)
            ),
        )
        for stage in stages
    )


def _claim(out: Path, run: dict[str, str], resume: bool) -> None:
    """Marks the folder as this run's; another run's folder is refused."""
    import json

    from bottega.weights import read_json, write_text

    record = out / "run.json"
    if record.is_file():
        other = read_json(record)
        if not resume:
            raise RequestError(f"{out} already holds a training run; choose another folder, or resume it")
        if other != run:
            changed = ", ".join(f"{name} {other.get(name)!r}, not {value!r}" for name, value in run.items()
                                if other.get(name) != value)  # fmt: skip
            raise RequestError(f"{out} holds another run ({changed}); choose another folder")
        return
    write_text(record, json.dumps(run, indent=2) + "\n")


def _save(system: System, system_id: str, model: nn.Module, config: Any, assets: dict[str, str], path: Path) -> None:
    from bottega.weights import NativeWeights, save_native

    model.to("cpu").eval()
    texts = dict(system.assets(model)) if system.assets is not None else assets
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    save_native(path, NativeWeights(config=config, tensors=tensors, assets=texts), system_id=system_id)
