"""Solvers by name, grids by name, and what a draw costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from bottega.processes.diffusion import (
    Churn,
    Ddim,
    Ddpm,
    Deis,
    DeisVariable,
    Denoiser,
    DiscreteVp,
    DpmMultistep,
    DpmSinglestep,
    DpmSolverPp2m,
    EdmGrid,
    Euler,
    Heun,
    LogSnrGrid,
    ParaDigms,
    Path,
    Plms,
    Pndm,
    Prior,
    Solver,
    StepReport,
    Target,
    TrailingGrid,
    UniformGrid,
    UniPc,
    no_report,
)
from bottega.training import draw_generators


class SolverName(Enum):
    """A solver."""

    DDIM = "ddim"
    """First order; eta brings noise."""
    DDPM = "ddpm"
    """Ancestral sampling, with noise."""
    EULER = "euler"
    """Euler's method, with churn."""
    HEUN = "heun"
    """EDM's second-order method, two calls a step, with churn."""
    PNDM = "pndm"
    """Pseudo Runge-Kutta, then multistep of four."""
    PLMS = "plms"
    """Multistep of four, Stable Diffusion's first sampler."""
    DPM_SOLVER_1 = "dpm-solver-1"
    """First order: DDIM."""
    DPM_SOLVER_2 = "dpm-solver-2"
    """Two calls a step."""
    DPM_SOLVER_3 = "dpm-solver-3"
    """Three calls a step."""
    DPM_PP_2S = "dpm++2s"
    """Two calls a step, on x0."""
    DPM_PP_2M = "dpm++2m"
    """Multistep of two, on x0."""
    DPM_PP_3M = "dpm++3m"
    """Multistep of three, on x0."""
    DPM_PP_SDE = "dpm++sde"
    """Two calls a step, with noise."""
    DPM_PP_2M_SDE = "dpm++2m-sde"
    """Multistep of two, with noise."""
    DEIS = "deis"
    """Multistep of three in log(sigma / alpha)."""
    DEIS_TAB = "deis-tab"
    """Multistep of four in time."""
    UNIPC = "unipc"
    """Predictor of three and corrector of four points, one call a step."""
    PARADIGMS = "paradigms"
    """DDIM's trajectory, many steps at once."""

    @property
    def label(self) -> str:
        """As the field writes it."""
        return _SOLVER_LABELS[self]


_SOLVER_LABELS = {
    SolverName.DDIM: "DDIM",
    SolverName.DDPM: "DDPM",
    SolverName.EULER: "Euler",
    SolverName.HEUN: "Heun",
    SolverName.PNDM: "PNDM",
    SolverName.PLMS: "PLMS",
    SolverName.DPM_SOLVER_1: "DPM-Solver-1",
    SolverName.DPM_SOLVER_2: "DPM-Solver-2",
    SolverName.DPM_SOLVER_3: "DPM-Solver-3",
    SolverName.DPM_PP_2S: "DPM-Solver++ 2S",
    SolverName.DPM_PP_2M: "DPM-Solver++ 2M",
    SolverName.DPM_PP_3M: "DPM-Solver++ 3M",
    SolverName.DPM_PP_SDE: "DPM-Solver++ SDE",
    SolverName.DPM_PP_2M_SDE: "DPM-Solver++ 2M SDE",
    SolverName.DEIS: "DEIS",
    SolverName.DEIS_TAB: "tAB-DEIS",
    SolverName.UNIPC: "UniPC",
    SolverName.PARADIGMS: "ParaDiGMS",
}


class GridName(Enum):
    """Where a solver stops on the way."""

    TIME = "time"
    """Even in the model's own time."""
    LOG_SNR = "log-snr"
    """Even in log-SNR."""
    EDM = "edm"
    """Even in the seventh root of the noise level."""

    @property
    def label(self) -> str:
        """As the field writes it."""
        return _GRID_LABELS[self]


_GRID_LABELS = {GridName.TIME: "Time", GridName.LOG_SNR: "Log-SNR", GridName.EDM: "EDM"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SolverSettings:
    """What some solvers take.

    Args:
        eta: DDIM's and ParaDiGMS's share of ancestral noise, 0 to 1.
        churn: Euler's and Heun's noise added and removed again, at least 0.
        window: ParaDiGMS's steps in a batch.
        tolerance: ParaDiGMS's largest change of a state that counts as found.
    """

    eta: float = 0.0
    churn: float = 0.0
    window: int = 16
    tolerance: float = 1e-3


Sampler = Solver | ParaDigms

_MAKE: Mapping[SolverName, Callable[[SolverSettings], Sampler]] = {
    SolverName.DDIM: lambda s: Ddim(eta=s.eta),
    SolverName.DDPM: lambda s: Ddpm(),
    SolverName.EULER: lambda s: Euler(churn=Churn(amount=s.churn)),
    SolverName.HEUN: lambda s: Heun(churn=Churn(amount=s.churn)),
    SolverName.PNDM: lambda s: Pndm(),
    SolverName.PLMS: lambda s: Plms(),
    SolverName.DPM_SOLVER_1: lambda s: DpmSinglestep(order=1),
    SolverName.DPM_SOLVER_2: lambda s: DpmSinglestep(order=2),
    SolverName.DPM_SOLVER_3: lambda s: DpmSinglestep(order=3),
    SolverName.DPM_PP_2S: lambda s: DpmSinglestep(order=2, target=Target.DATA),
    SolverName.DPM_PP_2M: lambda s: DpmSolverPp2m(),
    SolverName.DPM_PP_3M: lambda s: DpmMultistep(order=3),
    SolverName.DPM_PP_SDE: lambda s: DpmSinglestep(order=2, target=Target.DATA, eta=1.0),
    SolverName.DPM_PP_2M_SDE: lambda s: DpmMultistep(order=2, eta=1.0),
    SolverName.DEIS: lambda s: Deis(),
    SolverName.DEIS_TAB: lambda s: Deis(order=4, variable=DeisVariable.TIME),
    SolverName.UNIPC: lambda s: UniPc(),
    SolverName.PARADIGMS: lambda s: ParaDigms(solver=Ddim(eta=s.eta), window=s.window, tolerance=s.tolerance),
}
NOISY = frozenset({SolverName.DDPM, SolverName.DPM_PP_SDE, SolverName.DPM_PP_2M_SDE})
"""Solvers that add noise whatever the settings."""


def solver_of(name: SolverName, settings: SolverSettings) -> Sampler:
    """The solver of this name."""
    return _MAKE[name](settings)


def times_of(path: Path, steps: int, grid: GridName) -> tuple[float, ...]:
    """The times of a grid on this path.

    Raises:
        RequestError: The grid does not fit the path, or has more steps than a discrete path.
    """
    match grid:
        case GridName.LOG_SNR:
            return LogSnrGrid(steps)(path)
        case GridName.EDM:
            return EdmGrid(steps)(path)
        case GridName.TIME:
            return (TrailingGrid(steps) if isinstance(path, DiscreteVp) else UniformGrid(steps))(path)


def grid_of_calls(sampler: Sampler, calls: int, path: Path, grid: GridName) -> tuple[float, ...]:
    """The longest grid on which a solver takes at most this many calls of the network, at least one step.

    ParaDiGMS is given its sequential solver's grid.
    """
    solver = sampler.solver if isinstance(sampler, ParaDigms) else sampler
    low, high = 1, calls
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if count_calls(solver, times_of(path, middle, grid), path) <= calls else (low, middle - 1)
        )
    return times_of(path, low, grid)


def count_calls(solver: Solver, times: Sequence[float], path: Path) -> int:
    """Calls of the network that a solver takes on these times."""
    counted = _Counted(lambda x, t, cond: x)
    with torch.no_grad():
        solver(counted, torch.zeros(1, 1), times, path, generator=torch.Generator())
    return counted.calls


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """States, and what they took.

    Args:
        states: `(b, ...)`.
        steps: Steps of the solver.
        passes: Calls of the network one after another.
        evaluations: States that the network saw for each sample.
        seconds: Wall-clock time.
    """

    states: Tensor
    steps: int
    passes: int
    evaluations: int
    seconds: float


def draw(
    sampler: Sampler,
    denoiser: Denoiser,
    start: Tensor,
    times: Sequence[float],
    path: Path,
    *,
    cond: Any = None,  # noqa: ANN401 - the model's type
    seed: int = 0,
    report: StepReport = no_report,
) -> Drawn:
    """Follows a denoiser from `start` at the first time, counting calls."""
    generator = torch.Generator().manual_seed(seed)
    begun, steps = time.perf_counter(), len(times) - 1
    if isinstance(sampler, ParaDigms):
        made = sampler.solve(denoiser, start, times, path, cond=cond, generator=generator, report=report)
        states, passes, evaluations = made
    else:
        counted = _Counted(denoiser)
        states = sampler(counted, start, times, path, cond=cond, generator=generator, report=report)
        passes = evaluations = counted.calls
    seconds = time.perf_counter() - begun
    return Drawn(states=states, steps=steps, passes=passes, evaluations=evaluations, seconds=seconds)


def start_noise(prior: Prior, count: int, seed: int) -> Tensor:
    """Pure noise at the path's noisiest time; item i depends on the seed and i alone."""
    generators = draw_generators(seed, count)
    return prior.start(generators, prior.path.t_max)


class _Counted:
    """A denoiser that counts its calls."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.calls = denoiser, 0

    def __call__(self, x_t: Tensor, t: float | Tensor, cond: Any = None) -> Tensor:  # noqa: ANN401
        self.calls += 1
        return self.denoiser(x_t, t, cond)


FINE_STEPS = 60
"""Steps of the fine trajectory that others are compared with: DPM-Solver-3 on EDM's grid."""


def fine_trajectory(
    prior: Prior,
    denoiser: Denoiser,
    start: Tensor,
    cond: Any,
    report: StepReport = no_report,  # noqa: ANN401
) -> Tensor:
    """Where the probability-flow ODE leads, to within far less than any fast solver's error."""
    times = EdmGrid(FINE_STEPS)(prior.path) if _has_ends(prior.path) else UniformGrid(FINE_STEPS)(prior.path)
    return DpmSinglestep(order=3)(denoiser, start, times, prior.path, cond=cond, report=report)


def distance(one: Tensor, other: Tensor) -> float:
    """Root mean square difference of two sets of states or pictures."""
    return float((one.float() - other.float()).square().mean().sqrt())


def _has_ends(path: Path) -> bool:
    return path.alpha(path.t_max) > 0.0 and path.sigma(path.t_min) > 0.0
