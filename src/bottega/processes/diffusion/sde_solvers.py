"""Samplers of the reverse-time SDE: predictors, correctors, and both in turn. Each works on every path.

All are plans of steps (see `solvers.py`). A step that ends in clean data (sigma 0) takes the denoiser's x0: the last
noise is removed, not sampled. The ancestral predictor of the paper is `Ddpm`: with `large_variance` as on VP paths in
arXiv:2011.13456, without it as on its VE path.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, Protocol, final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.paths import Path
from bottega.processes.diffusion.sde import rates, require_signal, score_of
from bottega.processes.diffusion.solvers import Ask, Draw, Level, LinearStep, Solver, Step


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class EulerMaruyama(Solver):
    """Euler-Maruyama steps of dx = (f x - g^2 score) dt + g dw, backwards in the path's own time.

    Args:
        stochastic: False takes Euler steps of the probability-flow ODE instead: half the score, no noise.

    Source: arXiv:2011.13456 equation 6 and appendix D.1.
    """

    stochastic: bool = True

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """x_s = (1 - f dt) x_t + share g^2 dt score + g sqrt(dt) noise."""
        return [_maruyama(t, s, path, self.stochastic) for t, s in _reverse(times, path, "EulerMaruyama")]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ReverseDiffusion(Solver):
    """The forward process in steps, x_t = r x_s + G noise, undone step by step with the same discretisation.

    Here r = alpha_t / alpha_s and G^2 = sigma_t^2 - r^2 sigma_s^2 are the path's own transitions, which on the VE path
    and on DDPM's betas are those of the paper.

    Args:
        stochastic: False takes half the score and no noise.

    Source: arXiv:2011.13456 equation 46 and appendix E.
    """

    stochastic: bool = True

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """x_s = (2 - r) x_t + share G^2 score + G noise."""
        steps = []
        for t, s in _reverse(times, path, "ReverseDiffusion"):
            ratio = t.alpha / s.alpha
            power = max(t.sigma**2 - (ratio * s.sigma) ** 2, 0.0)
            steps.append(_scored(t, s, 2.0 - ratio, power, self.stochastic))
        return steps


class Corrector(Protocol):
    """Moves states towards the right distribution at a time, without changing the time."""

    def at(self, t: float, s: float, path: Path) -> Step:
        """The step at time `t` of a sampler that goes on to time `s`."""
        ...


class SnrLangevinStep(NamedTuple):
    """Langevin steps x <- x + e score + sqrt(2 e) noise, where e = 2 factor (snr |noise| / |score|)^2."""

    t: float
    alpha: float
    sigma: float
    snr: float
    factor: float
    repeats: int
    pooled: bool

    def take(self, x: Tensor, last_x0: Tensor, ask: Ask, draw: Draw) -> tuple[Tensor, Tensor]:
        """See `Step`. The x0 handed on is the last one asked for."""
        x0 = last_x0
        for _ in range(self.repeats):
            x0 = ask(x, self.t)
            score, noise = score_of(x0, x, self.alpha, self.sigma), draw(x)
            size = 2.0 * self.factor * (self.snr * self._norm(noise) / self._norm(score)) ** 2
            x = score.mul_(size).add_(x).addcmul_(noise, (2.0 * size).sqrt())
        return x, x0

    def _norm(self, x: Tensor) -> Tensor:
        """Norm of each sample, `(b, 1, ...)`, or their mean."""
        norms = x.flatten(1).norm(dim=1).clamp(min=torch.finfo(x.dtype).tiny)
        return norms.mean() if self.pooled else norms.reshape(-1, *[1] * (x.ndim - 1))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LangevinCorrector:
    """Langevin dynamics whose step size keeps a signal-to-noise ratio: of the score's part to the noise's.

    Args:
        snr: r, the ratio, above 0: 0.16 on CIFAR-10, 0.075 on 256-pixel faces and churches, 0.15 on 1024-pixel faces.
        steps: Langevin steps at each time, at least 1.
        pooled: Norms are averaged over the batch, as in the paper; False measures each sample alone, so that no
            sample depends on its neighbours. That is for pictures: with a few numbers in a sample, norms vary so much
            that steps of their own lengths miss the distribution.

    Source: arXiv:2011.13456 algorithm 4 and appendix G.
    """

    snr: float = 0.16
    steps: int = 1
    pooled: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.snr < math.inf:
            raise RequestError.of("snr", self.snr, "above 0 and finite")
        if self.steps < 1:
            raise RequestError.of("corrector steps", self.steps, "at least 1")

    def at(self, t: float, s: float, path: Path) -> Step:
        """The factor on the step size is the squared ratio of alpha over the interval: 1 - beta, or 1 on a VE path."""
        factor = (path.alpha(t) / path.alpha(s)) ** 2
        return SnrLangevinStep(t, path.alpha(t), path.sigma(t), self.snr, factor, self.steps, self.pooled)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AnnealedCorrector:
    """Langevin dynamics whose step size is a multiple of the noise's variance: annealed Langevin's rule.

    Args:
        snr: The step is 2 factor (snr sigma)^2, the factor as in `LangevinCorrector`; above 0.
        steps: Langevin steps at each time, at least 1.

    Source: arXiv:2011.13456 code, `AnnealedLangevinDynamics`; arXiv:1907.05600 algorithm 1.
    """

    snr: float = 0.16
    steps: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.snr < math.inf:
            raise RequestError.of("snr", self.snr, "above 0 and finite")
        if self.steps < 1:
            raise RequestError.of("corrector steps", self.steps, "at least 1")

    def at(self, t: float, s: float, path: Path) -> Step:
        """Steps of one size, which no state changes: x <- x + e score + sqrt(2 e) noise."""
        alpha, sigma = path.alpha(t), path.sigma(t)
        pull = 2.0 * (alpha / path.alpha(s) * self.snr) ** 2
        one = LinearStep(t, 1.0 - pull, pull * alpha, math.sqrt(2.0 * pull) * sigma)
        return one if self.steps == 1 else RepeatedStep(one, self.steps)


class RepeatedStep(NamedTuple):
    """The same step several times."""

    step: Step
    repeats: int

    def take(self, x: Tensor, last_x0: Tensor, ask: Ask, draw: Draw) -> tuple[Tensor, Tensor]:
        """See `Step`."""
        for _ in range(self.repeats):
            x, last_x0 = self.step.take(x, last_x0, ask, draw)
        return x, last_x0


class CorrectedStep(NamedTuple):
    """A corrector's step, then a predictor's."""

    corrector: Step
    predictor: Step

    def take(self, x: Tensor, last_x0: Tensor, ask: Ask, draw: Draw) -> tuple[Tensor, Tensor]:
        """See `Step`. The predictor sees the x0 of its own last step, not the corrector's."""
        corrected, _ = self.corrector.take(x, last_x0, ask, draw)
        return self.predictor.take(corrected, last_x0, ask, draw)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorCorrector(Solver):
    """At each time a corrector, then a predictor's step to the next time.

    Args:
        predictor: Any solver that takes one step from each time to the next.
        corrector: What corrects.

    Source: arXiv:2011.13456 algorithm 1 (its corrector comes first in the authors' code, as here).
    """

    predictor: Solver = field(default_factory=ReverseDiffusion)
    corrector: Corrector = field(default_factory=LangevinCorrector)

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """The predictor's plan with a corrector before each step."""
        predicted = self.predictor.plan(times, path)
        if len(predicted) != len(times) - 1:
            name = type(self.predictor).__name__
            raise RequestError.of("the predictor", name, "a solver of one step for each time", "use ReverseDiffusion")
        require_signal(path, times[0], "a corrector")
        gaps = pairwise(times)
        return [
            CorrectedStep(self.corrector.at(t, s, path), step) for (t, s), step in zip(gaps, predicted, strict=True)
        ]


def _reverse(times: Sequence[float], path: Path, what: str) -> list[tuple[Level, Level]]:
    """The level at each time with that at the next, checked."""
    if len(times) < 2 or not all(t > s for t, s in pairwise(times)):
        raise RequestError.of("times", tuple(times)[:8], "at least two strictly falling numbers")
    require_signal(path, times[0], what)
    return list(pairwise(Level.of(t, path) for t in times))


def _maruyama(t: Level, s: Level, path: Path, stochastic: bool) -> LinearStep:
    here, gap = rates(path, t.t), t.t - s.t
    return _scored(t, s, 1.0 - here.drift * gap, here.diffusion_squared * gap, stochastic)


def _scored(t: Level, s: Level, keep: float, power: float, stochastic: bool) -> LinearStep:
    """The step x_s = keep x_t + power score + sqrt(power) noise with the score written by x0."""
    if s.sigma == 0.0:
        return LinearStep(t.t, 0.0, s.alpha)
    pull = (power if stochastic else 0.5 * power) / t.sigma**2
    return LinearStep(t.t, keep - pull, pull * t.alpha, math.sqrt(power) if stochastic else 0.0)
