"""Running the room: pictures by a fast solver, by all of them, or a chart of what each is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bottega.data import tensor_to_pictures
from bottega.errors import RequestError
from bottega.processes.diffusion import Denoiser, Prior, StepReport
from bottega.results import PicturesResult, heat_map
from bottega.room import Progress, Report
from bottega.systems.diffusion.fast_sampling.model import FastSampling
from bottega.systems.diffusion.fast_sampling.sampling import (
    NOISY,
    Drawn,
    GridName,
    SolverName,
    SolverSettings,
    distance,
    draw,
    fine_trajectory,
    grid_of_calls,
    solver_of,
    start_noise,
)

MAX_ITEMS = 256
GUIDANCE = 2.0
"""What `guidance` None means where guidance is possible."""
CHART_CALLS = (4, 6, 8, 12, 16, 24)


class Mode(Enum):
    """What is made."""

    PICTURES = "pictures"
    """Pictures by the solver."""
    COMPARE = "compare"
    """The same noise by every solver, side by side, and the fine trajectory last."""
    CHART = "chart"
    """A table as a picture: calls of the network against the distance to the fine trajectory, for every solver."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FastSamplingRequest:
    """What to draw, by which solver."""

    inputs: tuple[str, ...] = ()
    """Words or names of classes, as the model takes them; none for pictures of any kind."""
    solver: SolverName = SolverName.UNIPC
    """What follows the denoiser."""
    steps: int = 10
    """Calls of the network, 1 to 1000. Solvers of two or three calls a step take fewer steps."""
    guidance: float | None = None
    """How strongly the input pulls, 0 to 50; 1 is no guidance. Left out: 2 where guidance is possible."""
    mode: Mode = Mode.PICTURES
    """What is made."""
    grid: GridName = GridName.TIME
    """Where solvers stop on the way."""
    eta: float = 0.0
    """Share of ancestral noise, 0 to 1: ddim and paradigms."""
    churn: float = 0.0
    """Noise added and removed again, 0 to 1000: euler and heun."""
    window: int = 16
    """Steps that paradigms solves at once, 1 to 256."""
    tolerance: float = 0.01
    """Largest change of a state, over its size, with which paradigms counts it as found, 0 to 1. 0 is exact."""
    count: int = 1
    """How many to make of each input, 1 to 256 in all."""
    seed: int = 0
    """The same seed makes the same bits, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if not 1 <= self.count * max(len(self.inputs), 1) <= MAX_ITEMS:
            raise RequestError.of("count", self.count, f"at least 1, and at most {MAX_ITEMS} items in all")
        limits = {"steps": (1, 1000), "eta": (0, 1), "churn": (0, 1000), "window": (1, 256), "tolerance": (0, 1)}
        for name, (low, high) in {**limits, "seed": (0, 2**31 - 1)}.items():
            if not low <= getattr(self, name) <= high:
                raise RequestError.of(name, getattr(self, name), f"between {low} and {high}")
        if self.guidance is not None and not 0.0 <= self.guidance <= 50.0:
            raise RequestError.of("guidance", self.guidance, "between 0 and 50")

    @property
    def settings(self) -> SolverSettings:
        """What some solvers take."""
        return SolverSettings(eta=self.eta, churn=self.churn, window=self.window, tolerance=self.tolerance)


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What every solver gets alike: a prior, its guided denoiser, noise, and conditions."""

    prior: Prior
    denoiser: Denoiser
    start: Tensor
    cond: Any
    guidance: float

    @classmethod
    def of(cls, prior: Prior, inputs: Sequence[str], count: int, guidance: float | None, seed: int) -> Task:
        """The task of a request.

        Raises:
            RequestError: The model takes no inputs or no guidance, or does not know an input.
        """
        scale = guidance if guidance is not None else 1.0 if prior.null_cond is None else GUIDANCE
        start = start_noise(prior, count * max(len(inputs), 1), seed)
        return cls(prior, prior.guided(scale), start, prior.conditions(inputs, count), scale)

    def by(
        self, name: SolverName, settings: SolverSettings, calls: int, grid: GridName, *, seed: int, report: StepReport
    ) -> Drawn:
        """The states that a solver draws within this many calls."""
        sampler, path = solver_of(name, settings), self.prior.path
        times = grid_of_calls(sampler, calls, path, grid)
        return draw(sampler, self.denoiser, self.start, times, path, cond=self.cond, seed=seed, report=report)

    def fine(self, report: StepReport) -> Tensor:
        """The states of the fine trajectory."""
        return fine_trajectory(self.prior, self.denoiser, self.start, self.cond, report)

    def pixels(self, states: Tensor) -> np.ndarray:
        """States to pictures, uint8 `(b, height, width, 3)`."""
        return tensor_to_pictures(self.prior.to_pictures(states.to(self.prior.like)))


@torch.inference_mode()
def infer(model: FastSampling, request: FastSamplingRequest, report: Report) -> PicturesResult:
    """Makes the pictures.

    Args:
        model: The room, with its diffusion model.
        request: What to make.
        report: Called after every step; may raise `Cancelled`.

    Raises:
        RequestError: The model does not know an input, takes no guidance, or has no such grid.
    """
    task = Task.of(model.prior, request.inputs, request.count, request.guidance, request.seed)
    match request.mode:
        case Mode.PICTURES:
            return _pictures(task, request, report)
        case Mode.COMPARE:
            return _compared(task, request, report)
        case Mode.CHART:
            return _charted(task, request, report)


def _pictures(task: Task, request: FastSamplingRequest, report: Report) -> PicturesResult:
    made = _by(task, request.solver, request, request.steps, _watched(task, report, request.solver.value))
    cost = _cost(made)
    names = [text for text in request.inputs for _ in range(request.count)] or [""] * request.count
    captions = tuple(f"{name}: {cost}" if name else cost for name in names)
    settings = {
        "solver": request.solver.value, "steps": made.steps, "passes": made.passes, "evaluations": made.evaluations,
        "guidance": task.guidance,
    }  # fmt: skip
    return PicturesResult(pictures=task.pixels(made.states), captions=captions, seed=request.seed, settings=settings)


def _compared(task: Task, request: FastSamplingRequest, report: Report) -> PicturesResult:
    pictures, captions, count = [], [], len(task.start)
    for name in SolverName:
        made = _by(task, name, request, request.steps, _watched(task, report, name.value))
        pictures.append(task.pixels(made.states))
        captions += [f"{name.value}: {_cost(made)}"] * count
    pictures.append(task.pixels(task.fine(_watched(task, report, "fine trajectory"))))
    captions += ["fine trajectory"] * count
    settings = {"steps": request.steps, "guidance": task.guidance}
    return PicturesResult(
        pictures=np.concatenate(pictures), captions=tuple(captions), seed=request.seed, settings=settings
    )


def _charted(task: Task, request: FastSamplingRequest, report: Report) -> PicturesResult:
    """Only solvers without noise of their own follow a trajectory; eta and churn are 0."""
    names = [name for name in SolverName if name not in NOISY]
    truth = task.fine(_watched(task, report, "fine trajectory"))
    table = np.zeros((len(names), len(CHART_CALLS)))
    for i, name in enumerate(names):
        for j, calls in enumerate(CHART_CALLS):
            quiet = SolverSettings(window=request.window, tolerance=request.tolerance)
            made = task.by(name, quiet, calls, request.grid, seed=request.seed, report=lambda *_: None)
            table[i, j] = distance(made.states, truth)
            step = i * len(CHART_CALLS) + j + 1
            report(Progress(step=step, total=table.size, stage=f"{name.value}, {calls} calls"))
    title = f"Calls of the network to the distance from the fine trajectory (pictures: {len(task.start)})"
    drawn = heat_map(table, [name.value for name in names], [str(calls) for calls in CHART_CALLS], title, "{:.3f}")
    return PicturesResult(
        pictures=drawn[None], captions=(title,), seed=request.seed, settings={"guidance": task.guidance}
    )


def _by(task: Task, name: SolverName, request: FastSamplingRequest, calls: int, report: StepReport) -> Drawn:
    return task.by(name, request.settings, calls, request.grid, seed=request.seed, report=report)


def _cost(made: Drawn) -> str:
    if made.passes == made.evaluations:
        return f"{made.passes} call{'s' if made.passes > 1 else ''}"
    return f"{made.passes} passes for {made.steps} steps"


def _watched(task: Task, report: Report, stage: str) -> StepReport:
    def after_step(step: int, total: int, x: Tensor, x0: Tensor) -> None:
        show: Callable[[], np.ndarray] = lambda: task.pixels(x0[:1])[0]  # noqa: E731
        report(Progress(step=step, total=total, stage=stage, preview=show))

    return after_step
