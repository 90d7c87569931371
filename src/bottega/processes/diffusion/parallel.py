"""ParaDiGMS: one trajectory solved at many times at once, by Picard iterations over a sliding window.

A sequential solver asks the denoiser once after another. Here a whole window of steps is asked in one batch, from
guesses of their states, and the guesses are made better until they no longer change: fewer passes, more evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.objective import noise_like
from bottega.processes.diffusion.paths import Path
from bottega.processes.diffusion.predictions import Denoiser, at_least_float
from bottega.processes.diffusion.solvers import Ddim, HeunStep, LinearStep, Solver, Step, StepReport, no_report
from bottega.processes.diffusion.staged import Mix, Pair, StagedStep

Stages = tuple[tuple[float, Mix], ...]


class Parallel(NamedTuple):
    """A sample and what it took.

    Args:
        state: The state at the last time.
        passes: Calls of the denoiser, one after another, each a batch; a sequential solver's number of calls is what to
            compare with.
        evaluations: States that the denoiser was asked about, for each sample.
    """

    state: Tensor
    passes: int
    evaluations: int


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ParaDigms:
    """Parallel sampling with any solver whose steps use nothing of earlier steps. Called like a `Solver`.

    An iteration is x_j = x_0 + sum of the changes that earlier steps make to their old states. The result is the
    solver's own: exact at tolerance 0, after at most as many passes as the solver takes.

    Args:
        solver: Whose trajectory it is: `Ddim`, `Ddpm` (noise is drawn up front), `Heun`, `DpmSinglestep`, ...
        window: Steps in a batch, at least 1; 1 is the sequential solver.
        tolerance: Largest change of a state in a pass, root mean square over a sample, with which it counts as found,
            in units of sqrt(alpha^2 + sigma^2). (The paper's unit is the noise that DDPM adds in a step, which shrinks
            with the number of steps and vanishes in the last.)

    Source: arXiv:2305.16317 algorithm 1.
    """

    solver: Solver = field(default_factory=Ddim)
    window: int = 16
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if self.window < 1:
            raise RequestError.of("window", self.window, "at least 1")
        if not 0.0 <= self.tolerance < math.inf:
            raise RequestError.of("tolerance", self.tolerance, "at least 0 and finite")

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        times: Sequence[float],
        path: Path,
        *,
        cond: Any = None,
        generator: torch.Generator | None = None,
        report: StepReport = no_report,
    ) -> Tensor:
        """The state at the last time, as of a `Solver`."""
        return self.solve(denoiser, x, times, path, cond=cond, generator=generator, report=report).state

    def solve(
        self,
        denoiser: Denoiser,
        x: Tensor,
        times: Sequence[float],
        path: Path,
        *,
        cond: Any = None,
        generator: torch.Generator | None = None,
        report: StepReport = no_report,
    ) -> Parallel:
        """The state at the last time, with counts.

        Args:
            denoiser: `(x_t, t, cond) -> x0`; it is called with a tensor of times.
            x: The state at `times[0]`, `(b, ...)`.
            times: Times of a grid.
            path: The path that the denoiser works on.
            cond: The condition, one row for each sample of x (or anything that is not a tensor).
            generator: Source of the noise; a draw for a draw the same as of the sequential solver.
            report: Called after each pass with the number of steps that are found, the number of steps, the last state
                that is found, and the x0 at the step before it.

        Raises:
            RequestError: A step of the solver uses earlier steps, or has churn.
        """
        start = at_least_float(x)
        plan = [stages_of(step) for step in self.solver.plan(times, path)]
        noises = [[noise_like(start, generator) for _, mix in stages if mix.noises] for stages in plan]
        batch = _Batch(denoiser, x.dtype, cond)
        sizes = [math.hypot(path.alpha(t), path.sigma(t)) for t in times[1:]]
        begin, total = 0, len(plan)
        states = [start] * (min(self.window, total) + 1)
        while begin < total:
            rows = range(begin, begin + len(states) - 1)
            ends, x0s = batch.ends(states[:-1], [plan[i] for i in rows], [noises[i] for i in rows])
            found, changes = [states[0]], []
            for i, old, following, end in zip(rows, states, states[1:], ends, strict=False):
                found.append(end if i == begin else found[-1] + (end - old))
                changes.append((found[-1] - following).flatten(1).square().mean(1).sqrt().max() / sizes[i])
            stride = 1 + _leading(torch.stack(changes[:-1]) <= self.tolerance if changes[1:] else None)
            begin += stride
            report(begin, total, found[stride], x0s[stride - 1])
            length = min(self.window, total - begin)
            states = [*found[stride:], *[found[-1]] * (length + 1)][: length + 1]
        return Parallel(states[0].to(x.dtype), batch.passes, batch.evaluations)


class _Batch:
    """The denoiser, asked about several states at several times in one call."""

    def __init__(self, denoiser: Denoiser, dtype: torch.dtype, cond: Any) -> None:  # noqa: ANN401
        self.denoiser, self.dtype, self.cond = denoiser, dtype, cond
        self.passes = self.evaluations = 0

    def ends(
        self, states: Sequence[Tensor], plan: Sequence[Stages], noises: Sequence[Sequence[Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Where each step leads from its state, and the last x0 on the way."""
        current = list(states)
        pairs: list[list[Pair]] = [[] for _ in states]
        for number in range(max(map(len, plan))):
            rows = [i for i, stages in enumerate(plan) if len(stages) > number]
            x0s = self._ask([current[i] for i in rows], [plan[i][number][0] for i in rows])
            for i, x0 in zip(rows, x0s, strict=True):
                mix = plan[i][number][1]
                pairs[i].insert(0, (current[i], x0))
                current[i] = mix.of(pairs[i], noises[i][: len(mix.noises)][::-1])
        return current, [asked[0][1] for asked in pairs]

    def _ask(self, states: Sequence[Tensor], times: Sequence[float]) -> Sequence[Tensor]:
        self.passes += 1
        self.evaluations += len(states)
        count, like = len(states[0]), states[0]
        t = torch.tensor(times, dtype=torch.float64, device=like.device).repeat_interleave(count)
        return self.denoiser(torch.cat(list(states)).to(self.dtype), t, _tiled(self.cond, len(states))).split(count)


def stages_of(step: Step) -> Stages:
    """A step as stages.

    Raises:
        RequestError: The step uses earlier steps, or is of another kind (churn).
    """
    match step:
        case LinearStep(t, a, b, c, 0.0):
            return ((t, Mix((a,), (b,), (c,) if c else ())),)
        case HeunStep(LinearStep(t, a, b), s, to, to_x0, ahead, ahead_x0):
            return (t, Mix((a,), (b,))), (s, Mix((ahead, to), (ahead_x0, to_x0)))
        case StagedStep(stages) if step.is_alone:
            return stages
    allowed = "one whose steps use nothing of earlier steps and have no churn"
    raise RequestError.of("the solver's step", type(step).__name__, allowed, "use Ddim, Ddpm, Heun or DpmSinglestep")


def _leading(small: Tensor | None) -> int:
    """How many of the first entries are true."""
    return 0 if small is None else int(small.long().cumprod(0).sum())


def _tiled(cond: Any, count: int) -> Any:  # noqa: ANN401 - the model's type
    """A condition of b rows as one of count x b rows."""
    if isinstance(cond, Tensor):
        return torch.cat([cond] * count) if cond.ndim else cond
    if isinstance(cond, Mapping):
        return {name: _tiled(part, count) for name, part in cond.items()}
    if isinstance(cond, tuple | list):
        return tuple(_tiled(part, count) for part in cond)
    return cond
