"""Langevin dynamics: sampling by following a score and adding noise, at one noise level or at a sequence of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.objective import noise_like
from bottega.processes.diffusion.paths import Path
from bottega.processes.diffusion.score_matching import ScoreNetwork
from bottega.processes.diffusion.solvers import LinearStep, Solver, Step
from bottega.processes.diffusion.staged import falling


def langevin_step(x: Tensor, score: Tensor, step: float | Tensor, noise: Tensor) -> Tensor:
    """The state x + step score + sqrt(2 step) noise.

    Args:
        x: States `(b, ...)`.
        score: The score at these states.
        step: Step size, at least 0; a tensor broadcasts to the states.
        noise: Standard normal noise of x's shape.

    Source: arXiv:1907.05600 equation 4, with its step size halved.
    """
    spread = step.mul(2.0).sqrt() if isinstance(step, Tensor) else math.sqrt(2.0 * step)
    return x + step * score + spread * noise


def langevin_dynamics(
    score: ScoreNetwork,
    x: Tensor,
    *,
    step: float,
    steps: int,
    generator: torch.Generator | None = None,
    report: Callable[[int, int, Tensor], None] | None = None,
) -> Tensor:
    """Plain Langevin dynamics under any score.

    Args:
        score: States `(b, ...)` to scores of the same shape.
        x: Where the chains start.
        step: Step size, above 0.
        steps: How many.
        generator: Source of the noise.
        report: Called after each step with its number from 1, the number of steps and the states.

    Returns:
        The states after the last step.
    """
    if not step > 0:
        raise RequestError.of("step", step, "above 0")
    for number in range(1, steps + 1):
        x = langevin_step(x, score(x), step, noise_like(x, generator))
        if report is not None:
            report(number, steps, x)
    return x


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AnnealedLangevin(Solver):
    """Langevin dynamics at every time of the grid but the last, each level starting where the one before ended.

    One time and the clean end make plain Langevin dynamics at that one level.

    In y = x / alpha, where the noise of time i has the standard deviation s_i = sigma_i / alpha_i, it is the authors'
    y <- y + a_i score + sqrt(2 a_i) noise with a_i = step (s_i / s_L)^2. As a step on x0 all levels have the same
    coefficients, so it runs on every path, with every prediction and guidance.

    Args:
        step: Step size at the last noisy time L, in units of y squared; at most 2 s_L^2, beyond which it diverges.
        steps_per_level: Steps at each level, at least 1.
        denoise: Ends with the expected x0 of the last noisy state, not with that state itself.

    Source: arXiv:1907.05600 algorithm 1; arXiv:2006.09011 algorithm 1 (`denoise`).
    """

    step: float
    steps_per_level: int
    denoise: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.step < math.inf:
            raise RequestError.of("step", self.step, "above 0 and finite")
        if self.steps_per_level < 1:
            raise RequestError.of("steps_per_level", self.steps_per_level, "at least 1")

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """The step x <- (1 - r) x + r alpha x0 + sqrt(2 r) sigma noise at each level, where r = step / s_L^2."""
        pairs = falling(times, path)
        if pairs[0][0].alpha == 0.0:
            raise RequestError.of("times", times[0], "times with some signal left", "Langevin dynamics needs a score")
        last, end = pairs[-1]
        share = self.step * (last.alpha / last.sigma) ** 2
        if share > 2.0:
            raise RequestError.of("step", self.step, f"at most {2 * (last.sigma / last.alpha) ** 2:.3g} on this grid")
        steps: list[Step] = []
        for level, after in pairs:
            here = LinearStep(level.t, 1.0 - share, share * level.alpha, math.sqrt(2.0 * share) * level.sigma)
            grows = 1.0 if self.denoise and after is end else after.alpha / level.alpha
            steps += [here] * (self.steps_per_level - 1)
            steps.append(LinearStep(here.t, grows * here.a, grows * here.b, grows * here.c))
        if self.denoise:
            ratio = end.sigma / last.sigma
            steps.append(LinearStep(last.t, ratio, end.alpha - ratio * last.alpha))
        return steps
