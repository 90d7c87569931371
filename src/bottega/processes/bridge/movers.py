"""Movers: what a step's mean is, from a trained network, a diffusion model, or a reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion import Denoiser, Path

Mean = Callable[[Tensor, int], Tensor]
"""`(states (b, ...), step)` to the next states without noise."""

Network = Callable[[Tensor, Tensor], Tensor]
"""`(states (b, ...), steps (b,))` to an output of the states' shape."""


class Move(Enum):
    """What a mover's network says about a state."""

    STATE = "state"
    """The next state (DSB, S-DSB)."""
    TERMINAL = "terminal"
    """The state at the end (TR-DSB)."""
    FLOW = "flow"
    """The end less the state, over the time that is left (FR-DSB)."""


@final
@dataclass(frozen=True, slots=True)
class Gammas:
    """Half the variance of the noise of each step, the same from either end.

    Args:
        values: One for each step, at least 0.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or not all(0 <= value < math.inf for value in self.values):
            raise RequestError.of("gammas", self.values[:4], "at least one number, none below 0")
        if any(abs(a - b) > 1e-9 * max(a, b) for a, b in zip(self.values, reversed(self.values), strict=True)):
            raise RequestError.of("gammas", self.values[:4], "the same from either end")

    @classmethod
    def linear(cls, steps: int, low: float = 1e-4, high: float = 0.1) -> Gammas:
        """Even from `low` up to `high`, and down again; the published default. `steps` is even."""
        if steps < 2 or steps % 2:
            raise RequestError.of("steps", steps, "even and at least 2")
        rising = torch.linspace(low, high, steps // 2, dtype=torch.float64).tolist()
        return cls((*rising, *reversed(rising)))

    @classmethod
    def constant(cls, steps: int, gamma: float = 5e-4) -> Gammas:
        """The same in every step."""
        return cls((gamma,) * steps)

    @property
    def steps(self) -> int:
        """N."""
        return len(self.values)

    @property
    def variance(self) -> float:
        """Variance of all noise together."""
        return 2 * sum(self.values)


def mover(network: Network, move: Move, steps: int) -> Mean:
    """A network as a mover of so many steps.

    With share = t / N of the way gone, a state is (1 - share) start + share end, and the step goes 1 / N further.
    Source: arXiv:2403.14623 section 4.
    """

    def mean(x: Tensor, step: int) -> Tensor:
        said = network(x, torch.full((len(x),), float(step), device=x.device))
        match move:
            case Move.STATE:
                return said
            case Move.TERMINAL:
                return x + (said - x) / (steps - step)
            case Move.FLOW:
                return x + said / steps

    return mean


def toward(end: Tensor, steps: int) -> Mean:
    """The reference of flow matching: straight to a partner at the other end, of each state's own."""
    return mover(lambda x, step: end, Move.TERMINAL, steps)


def stay(x: Tensor, step: int) -> Tensor:
    """The Brownian reference: no drift."""
    return x


def drift_to_normal(gammas: Gammas, mean: float = 0.0, variance: float = 1.0) -> Mean:
    """The Ornstein-Uhlenbeck reference of DSB. Source: arXiv:2106.01357 section 3.1."""
    return lambda x, step: x + gammas.values[step] * (mean - x) / variance


def denoised_end(denoiser: Denoiser, path: Path, steps: int) -> Mean:
    """A diffusion model as the mover from noise to data: the initialisation by a score-based model.

    A state of the bridge, (1 - s) noise + s data, is one of the model's path up to a factor: the one with the same
    signal-to-noise ratio. Works with whatever denoises, on any path. Source: arXiv:2403.14623 section 3.3.
    """

    def end(x: Tensor, step: Tensor) -> Tensor:
        share = float(step[0]) / steps
        if share == 0.0:
            t = path.t_max
            return denoiser(x * path.sigma(t), t, None)
        t = min(path.time_of_log_snr(2 * math.log(share / (1 - share))), path.t_max)
        return denoiser(x * (path.alpha(t) / share if t < path.t_max else path.sigma(t)), t, None)

    return mover(end, Move.TERMINAL, steps)
