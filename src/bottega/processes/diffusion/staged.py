"""The step that every fast solver is made of: calls of the denoiser, each followed by one linear combination.

All solvers here are linear in states, denoised states and noise, so a whole method is a table of Python floats. Methods
differ in the table alone.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from itertools import pairwise
from typing import NamedTuple, final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.paths import Path

Pair = tuple[Tensor, Tensor]
Draw = Callable[[Tensor], Tensor]
MEMORY = 3
"""Earlier steps that a multistep method looks back on."""


class Level(NamedTuple):
    """A time with its coefficients."""

    t: float
    alpha: float
    sigma: float

    @classmethod
    def of(cls, t: float, path: Path) -> Level:
        """The level at a time of a path."""
        return cls(t, path.alpha(t), path.sigma(t))

    @property
    def log_ratio(self) -> float:
        """log(alpha / sigma), half the log-SNR: rises along a trajectory; infinite at its ends."""
        if self.sigma == 0.0:
            return math.inf
        return math.log(self.alpha / self.sigma) if self.alpha > 0.0 else -math.inf


def falling(times: Sequence[float], path: Path, direction: str = "falling") -> list[tuple[Level, Level]]:
    """The level at each time with that at the next, checked.

    Raises:
        RequestError: The times are fewer than two or do not run in this direction.
    """
    if len(times) < 2 or not all(t > s for t, s in pairwise(times)):
        raise RequestError.of("times", tuple(times)[:8], f"at least two strictly {direction} numbers")
    return list(pairwise(Level.of(t, path) for t in times))


@final
class Ask:
    """The denoiser as steps see it, `(state, t) -> x0`, with the memory of a trajectory.

    Attributes:
        past: The (state, x0) at the start of each of the last `MEMORY` staged steps, newest first.
    """

    __slots__ = ("_denoise", "past")

    def __init__(self, denoise: Callable[[Tensor, float], Tensor]) -> None:
        self._denoise = denoise
        self.past: deque[Pair] = deque(maxlen=MEMORY)

    def __call__(self, state: Tensor, t: float) -> Tensor:
        """The x0 expected at a state and time."""
        return self._denoise(state, t)


class Mix(NamedTuple):
    """A linear combination; entry i belongs to the i-th last (state, x0), or the i-th last noise, of a step."""

    states: tuple[float, ...]
    x0s: tuple[float, ...]
    noises: tuple[float, ...] = ()

    def of(self, pairs: Sequence[Pair], noises: Sequence[Tensor]) -> Tensor:
        """The combination in a fresh tensor. `pairs` may be more than the mix uses."""
        total: Tensor | None = None
        for (state, x0), a, b in zip(pairs, self.states, self.x0s, strict=False):
            for tensor, factor in ((x0, b), (state, a)):
                if factor != 0.0:
                    total = torch.mul(tensor, factor) if total is None else total.add_(tensor, alpha=factor)
        for noise, factor in zip(noises, self.noises, strict=True):
            total = torch.mul(noise, factor) if total is None else total.add_(noise, alpha=factor)
        return torch.zeros_like(pairs[0][0]) if total is None else total


class StagedStep(NamedTuple):
    """Stages: the denoiser is asked at a time, and the state becomes a combination of all that this step asked before.

    A combination may also use the starts of earlier steps (`Ask.past`), behind the step's own pairs. Where it has
    noises, a new one is drawn before it.
    """

    stages: tuple[tuple[float, Mix], ...]

    def take(self, x: Tensor, last_x0: Tensor, ask: Ask, draw: Draw) -> tuple[Tensor, Tensor]:
        """See `Step`."""
        pairs: list[Pair] = []
        noises: list[Tensor] = []
        x0 = last_x0
        for t, mix in self.stages:
            x0 = ask(x, t)
            pairs.insert(0, (x, x0))
            if mix.noises:
                noises.insert(0, draw(x))
            x = mix.of([*pairs, *ask.past], noises)
        ask.past.appendleft(pairs[-1])
        return x, x0

    @property
    def is_alone(self) -> bool:
        """Whether the step uses nothing of earlier steps."""
        return all(len(mix.states) <= number for number, (_, mix) in enumerate(self.stages, 1))


class Target(Enum):
    """What a solver takes for constant, linear or quadratic within a step."""

    DATA = "data"
    """x0, as in DPM-Solver++."""
    NOISE = "noise"
    """The noise (x - alpha x0) / sigma, as in DPM-Solver, DEIS and PNDM."""


def mix(
    base: float,
    weights: Sequence[float],
    levels: Sequence[Level],
    target: Target,
    *,
    origin: int = 0,
    noises: tuple[float, ...] = (),
) -> Mix:
    """The combination base (state `origin`) + sum of weight i (target i), as a `Mix` over states and x0s.

    Args:
        base: Factor of the state.
        weights: Factors of the targets, newest first.
        levels: Levels of the pairs, newest first, at least as many as weights.
        target: What the weights belong to.
        origin: Which pair's state the step starts from.
        noises: Factors of the noises.
    """
    count = max(len(weights), origin + 1)
    states, x0s = [0.0] * count, [0.0] * count
    states[origin] = base
    for i, (weight, level) in enumerate(zip(weights, levels, strict=False)):
        if target is Target.DATA:
            x0s[i] = weight
        else:
            states[i] += weight / level.sigma
            x0s[i] = -weight * level.alpha / level.sigma
    return Mix(tuple(states), tuple(x0s), noises)


def first_order(t: Level, s: Level, *, eta: float = 0.0) -> Mix:
    """DDIM's step, exact for constant x0; with noise (eta above 0) the same for the reverse SDE.

    Source: arXiv:2010.02502 equation 12; arXiv:2211.01095 equation 18.
    """
    decay, kept = noise_decay(t, s, eta)
    clean = -math.expm1(-(1.0 + eta) * (s.log_ratio - t.log_ratio))
    return Mix(
        (s.sigma / t.sigma * decay,), (s.alpha * clean,), (s.sigma * kept,) if eta > 0.0 and s.sigma > 0.0 else ()
    )


def noise_decay(t: Level, s: Level, eta: float) -> tuple[float, float]:
    """exp(-eta h), the factor of old noise, and sqrt(1 - its square), that of new noise, both over sigma_s."""
    if eta == 0.0:
        return 1.0, 0.0
    h = s.log_ratio - t.log_ratio
    return math.exp(-eta * h), math.sqrt(-math.expm1(-2.0 * eta * h))


def exponential_moments(rate: float, count: int) -> list[float]:
    """Integrals over u from 0 to 1 of rate exp(rate (1 - u)) u^j, for j = 0 ... count - 1."""
    if abs(rate) > 1.0:
        moments = [math.expm1(rate)]
        for j in range(1, count):
            moments.append(j * moments[-1] / rate - 1.0)
        return moments
    moments = []
    for j in range(count):
        term, total = 1.0, 0.0
        for k in range(1, 20):
            term *= rate / (j + k)
            total += term
        moments.append(total)
    return moments


def weights_of(places: Sequence[float], moments: Sequence[float]) -> list[float]:
    """The weights w with sum w_i p(place_i) = sum c_j moment_j for every polynomial p(u) = sum c_j u^j.

    These are the Lagrange polynomials of the places, put through the functional that the moments define.
    """
    weights = []
    for i, place in enumerate(places):
        polynomial = [1.0]
        for other in (*places[:i], *places[i + 1 :]):
            lower, upper = [0.0, *polynomial], [-other * c for c in polynomial] + [0.0]
            polynomial = [(a + b) / (place - other) for a, b in zip(lower, upper, strict=True)]
        weights.append(sum(c * m for c, m in zip(polynomial, moments, strict=True)))
    return weights
