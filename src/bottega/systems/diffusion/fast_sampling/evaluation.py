"""Measuring solvers on the emoji world: what each is worth for its calls of the network."""

from __future__ import annotations

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.metrics import PixelFeatures, kernel_distance
from bottega.processes.diffusion import Prior
from bottega.room import Measure, Progress, Report
from bottega.systems.diffusion.fast_sampling.inference import Task
from bottega.systems.diffusion.fast_sampling.model import FastSampling
from bottega.systems.diffusion.fast_sampling.sampling import (
    NOISY,
    Drawn,
    GridName,
    SolverName,
    SolverSettings,
    distance,
    draw,
    solver_of,
    times_of,
)
from bottega.worlds import EmojiWorld
from bottega.worlds.emoji import EMOJI_CLASSES, class_of_sample

CALLS = (5, 10, 20)
LONG, WINDOW, TOLERANCE = 50, 16, 0.01
"""ParaDiGMS: sequential steps, the window, and the tolerance."""
FEATURES = PixelFeatures()


@torch.inference_mode()
def evaluate(model: FastSampling, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Distances after 5, 10 and 20 calls for every solver, and what ParaDiGMS saves.

    The distance to the fine trajectory, root mean square over pixels in [-1, 1], is for solvers without noise; its
    baseline is DDIM's with as many calls, its control the distance to another item's trajectory. The kernel distance
    compares sets: a solver's pictures with fine ones of the same inputs and other noise.

    Args:
        model: The room, with its diffusion model.
        seed: Picks inputs and noise.
        limit: Pictures for each figure.
        report: Called after every solver.
    """
    prior, count = model.prior, max(limit, 2)
    inputs = _inputs(prior, count, seed)
    number = 1 if inputs else count
    task, other = (Task.of(prior, inputs, number, None, each) for each in (seed, seed + 1))
    truth, fresh = (_pictures(prior, each.fine(lambda *_: None)) for each in (task, other))
    reference = FEATURES.features(fresh)
    made: dict[tuple[SolverName, int], Tensor] = {}
    for step, name in enumerate(SolverName, 1):
        for calls in CALLS:
            drawn = task.by(name, SolverSettings(), calls, GridName.TIME, seed=seed, report=lambda *_: None)
            made[name, calls] = _pictures(prior, drawn.states)
        report(Progress(step=step, total=len(SolverName) + 1, stage=name.value))
    sets = {key: kernel_distance(FEATURES.features(each), reference).value for key, each in made.items()}
    control = distance(truth.roll(1, 0), truth)
    found: dict[str, Measure] = {}
    for (name, calls), pictures in made.items():
        label = f"{name.value}, {calls} calls"
        if name not in NOISY:
            found[f"{label}: distance to the fine trajectory"] = Measure(
                value=distance(pictures, truth), baseline=distance(made[SolverName.DDIM, calls], truth),
                control=control, higher_is_better=False, samples=count,
            )  # fmt: skip
        found[f"{label}: kernel distance ({FEATURES.name})"] = Measure(
            value=sets[name, calls], baseline=sets[SolverName.DDIM, calls], higher_is_better=False, samples=count
        )
    return found | _parallel(task, seed, report)


def _parallel(task: Task, seed: int, report: Report) -> dict[str, Measure]:
    """ParaDiGMS beside the sequential DDIM that it solves: passes, seconds, and how far the two ends are apart."""
    settings = SolverSettings(window=WINDOW, tolerance=TOLERANCE)
    times = times_of(task.prior.path, LONG, GridName.TIME)

    def by(name: SolverName) -> Drawn:
        sampler = solver_of(name, settings)
        return draw(sampler, task.denoiser, task.start, times, task.prior.path, cond=task.cond, seed=seed)

    parallel, sequential = by(SolverName.PARADIGMS), by(SolverName.DDIM)
    report(Progress(step=len(SolverName) + 1, total=len(SolverName) + 1, stage="paradigms"))
    apart = distance(parallel.states, sequential.states)
    count, label = len(task.start), f"paradigms, {LONG} steps, window {WINDOW}"
    sizes = {
        "passes": (parallel.passes, sequential.passes, ""),
        "network evaluations": (parallel.evaluations, sequential.evaluations, ""),
        "seconds": (parallel.seconds, sequential.seconds, "s"),
    }
    found = {
        f"{label}: {what}": Measure(value=value, baseline=baseline, unit=unit, higher_is_better=False, samples=count)
        for what, (value, baseline, unit) in sizes.items()
    }
    control = distance(parallel.states.roll(1, 0), sequential.states)
    found[f"{label}: distance to the sequential sample"] = Measure(
        value=apart, control=control, higher_is_better=False, samples=count
    )
    return found


def _inputs(prior: Prior, count: int, seed: int) -> list[str]:
    """Names of as many emoji, or their classes where the model takes those; none where it takes nothing."""
    if prior.condition is None:
        return []
    world = EmojiWorld(split="train", scenes=0.0, seed=seed)
    samples = [world.sample(index) for index in range(count)]
    names = [prior.input_of(sample) for sample in samples]
    try:
        prior.condition(names)
    except RequestError:
        return [EMOJI_CLASSES[class_of_sample(EMOJI_CLASSES, sample) or 0] for sample in samples]
    return names


def _pictures(prior: Prior, states: Tensor) -> Tensor:
    return prior.to_pictures(states.to(prior.like)).float().clamp(-1, 1).cpu()
