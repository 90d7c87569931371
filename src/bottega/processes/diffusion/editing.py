"""Editing by changing the state on the way: what is known is re-imposed at every step, whatever solver makes the steps.

`Edited` turns a solver into one that edits the state at every time of the grid; an `Edit` says how. `Sdedit` starts in
the middle of the way, from a guide with noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.objective import noise_like
from bottega.processes.diffusion.operators import LinearOperator
from bottega.processes.diffusion.paths import Path
from bottega.processes.diffusion.predictions import Denoiser
from bottega.processes.diffusion.solvers import Ask, Draw, Level, Solver, Step, StepReport, no_report


class Edit(Protocol):
    """A change of the state at a level of noise."""

    def __call__(self, x: Tensor, level: Level, draw: Draw) -> Tensor:
        """The changed state; `draw(x)` is fresh noise of x's shape."""
        ...


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reimposed:
    """What is known, brought to the state's level of noise, takes the state's place (inpainting, SDEdit's masks).

    Args:
        guide: Clean states `(b, ...)`, or one for all.
        known: 1 where the guide is kept, 0 where the state is free; values between mix. Broadcasts over the guide.

    Source: arXiv:2011.13456 appendix I.2; arXiv:2108.01073 (SDEdit) algorithm 3.
    """

    guide: Tensor
    known: Tensor

    def __call__(self, x: Tensor, level: Level, draw: Draw) -> Tensor:
        """See `Edit`."""
        noisy = level.alpha * self.guide.to(x)
        if level.sigma > 0:
            noisy = noisy + level.sigma * draw(x)
        return torch.lerp(x, noisy.expand_as(x), self.known.to(x).expand_as(x))


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MergedKnown:
    """The measurement, perturbed to y_t = alpha y + sigma A noise, takes the place of what the state would measure.

    x + mix A^+ (y_t - A x). Where A is an orthonormal transform of which some entries are measured, that is the mixture
    in the transform's space of the paper, known * mask * mix + T x (1 - mask * mix).

    Args:
        operator: A.
        measured: y, `(b, ...)` or one for all.
        mix: The paper's lambda: 1 trusts the measurement; 0.841 for the 320-pixel computed tomography of the paper.

    Source: arXiv:2111.08005 section 3.2, equation 10.
    """

    operator: LinearOperator
    measured: Tensor
    mix: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.mix <= 1:
            raise RequestError.of("mix", self.mix, "between 0 and 1")

    def __call__(self, x: Tensor, level: Level, draw: Draw) -> Tensor:
        """See `Edit`."""
        wanted = level.alpha * self.measured.to(x.device)
        expected = x
        if level.sigma > 0:
            expected = x - level.sigma * draw(x)
        return x + self.mix * self.operator.pseudo_inverse(wanted - self.operator.forward(expected))


class EditedStep(NamedTuple):
    """An edit at a level of noise, then a step, then an edit at the end where `end` is given."""

    edit: Edit
    level: Level
    then: Step
    end: Level | None = None

    def take(self, x: Tensor, last_x0: Tensor, ask: Ask, draw: Draw) -> tuple[Tensor, Tensor]:
        """See `Step`."""
        x, x0 = self.then.take(self.edit(x, self.level, draw), last_x0, ask, draw)
        return (x if self.end is None else self.edit(x, self.end, draw)), x0


class AgainStep(NamedTuple):
    """Noise that leads back from the end of a step to its start, then the step once more."""

    growth: float
    noise: float
    then: Step

    def take(self, x: Tensor, last_x0: Tensor, ask: Ask, draw: Draw) -> tuple[Tensor, Tensor]:
        """See `Step`."""
        return self.then.take(torch.mul(x, self.growth).add_(draw(x), alpha=self.noise), last_x0, ask, draw)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Edited(Solver):
    """A solver that edits the state before each of its steps and after the last.

    Args:
        solver: Any solver with one step from each time to the next.
        edit: What is done to the state.
        resample: How often each step is taken; above 1 it goes back by adding noise, so that the free part can follow
            the known one. Source: arXiv:2201.09865 (RePaint) algorithm 1, with jumps of one step.
    """

    solver: Solver
    edit: Edit
    resample: int = 1

    def __post_init__(self) -> None:
        if self.resample < 1:
            raise RequestError.of("resample", self.resample, "at least 1")

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """The solver's steps, each after an edit, each as often as asked for."""
        steps, levels = self.solver.plan(times, path), [Level.of(t, path) for t in times]
        if len(steps) != len(levels) - 1:
            allowed = f"{len(levels) - 1}, one from each time to the next"
            raise RequestError.of(f"the number of {type(self.solver).__name__}'s steps", len(steps), allowed)
        edited: list[Step] = []
        for step, (start, end) in zip(steps, pairwise(levels), strict=True):
            last = end if end is levels[-1] else None
            once = EditedStep(self.edit, start, step, last)
            growth = start.alpha / end.alpha
            noise = math.sqrt(max(start.sigma**2 - (growth * end.sigma) ** 2, 0.0))
            edited += [once, *[AgainStep(growth, noise, once)] * (self.resample - 1)]
        return edited


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sdedit:
    """A guide (strokes, a collage) to a picture: noise up to a time in the middle, then the reverse process from there.

    More noise keeps less of the guide and looks more like the data.

    Args:
        solver: Any solver.
        strength: Share of the grid's steps that are taken, above 0 and at most 1: SDEdit's t0 on an even grid.
        repeats: How often noise is added and taken away; the paper's code uses 3.
        known: 1 where the guide is kept as it is, 0 where it may change; None lets everything change.

    Source: arXiv:2108.01073 algorithms 1 and 3.
    """

    solver: Solver
    strength: float = 0.5
    repeats: int = 1
    known: Tensor | None = None

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise RequestError.of("strength", self.strength, "above 0 and at most 1")
        if self.repeats < 1:
            raise RequestError.of("repeats", self.repeats, "at least 1")

    def __call__(
        self,
        denoiser: Denoiser,
        guide: Tensor,
        times: Sequence[float],
        path: Path,
        *,
        cond: Any = None,
        generator: torch.Generator | None = None,
        report: StepReport = no_report,
    ) -> Tensor:
        """The picture.

        Args:
            denoiser: `(x_t, t, cond) -> x0`.
            guide: Clean states `(b, ...)`.
            times: A whole grid, from the noisiest time to the clean end.
            path: The path that the denoiser works on.
            cond: Handed to the denoiser as it is.
            generator: Source of all noise.
            report: As solvers call it; steps are counted over all repeats.
        """
        taken = late(times, self.strength)
        solver = self.solver
        if self.known is not None:
            solver = Edited(solver=solver, edit=Reimposed(guide=guide, known=self.known))
        x, start = guide, Level.of(taken[0], path)
        for done in range(self.repeats):

            def count(step: int, total: int, x_t: Tensor, x0: Tensor, done: int = done) -> None:
                report(done * total + step, self.repeats * total, x_t, x0)

            noisy = start.alpha * x + start.sigma * noise_like(x, generator)
            x = solver(denoiser, noisy, taken, path, cond=cond, generator=generator, report=count)
        return x


def late(times: Sequence[float], share: float) -> tuple[float, ...]:
    """The last steps of a grid, at least one: `share` of them all."""
    steps = max(1, round(share * (len(times) - 1)))
    return tuple(times[len(times) - 1 - steps :])
