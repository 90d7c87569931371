"""How few-step students are sampled. Progressive students and students in segments take DDIM; these are the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from bottega.errors import RequestError
from bottega.processes.diffusion import DiscreteVp, LinearStep, Path, Solver, Step


@final
@dataclass(frozen=True, slots=True)
class ConsistencySampler(Solver):
    """Multistep consistency sampling: jump to clean data, add fresh noise of the next level, and again.

    With times (t_max, clean) it is one call. Source: arXiv:2303.01469 algorithm 1; diffusers' LCMScheduler is this.
    """

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """x_s = alpha_s x0 + sigma_s noise."""
        if len(times) < 2 or not all(t > s for t, s in pairwise(times)):
            raise RequestError.of("times", tuple(times)[:8], "at least two strictly falling numbers")
        return [LinearStep(t, 0.0, path.alpha(s), path.sigma(s)) for t, s in pairwise(times)]


@final
@dataclass(frozen=True, slots=True)
class LcmGrid:
    """The times of latent consistency models: some of the `trained` times, evenly spaced in their list, then clean.

    Args:
        steps: Steps, from 1 to `trained`.
        trained: Times that the student was distilled at, i N / trained - 1 for i = 1 ... trained.

    Source: arXiv:2310.04378 section 4.3; the spacing is that of the published scheduler.
    """

    steps: int
    trained: int = 50

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= self.trained:
            raise RequestError.of("steps", self.steps, f"between 1 and {self.trained}")

    def __call__(self, path: Path) -> tuple[float, ...]:
        """The times. On a path that is not discrete, i / trained of the way to pure noise."""
        return spread_times(lcm_times(path, self.trained), self.steps)


def even_times(path: Path, steps: int) -> tuple[float, ...]:
    """`steps + 1` times, even in the path's own time from its noisiest to the clean end: a teacher's grid."""
    return tuple(path.t_max + i / steps * (path.t_clean - path.t_max) for i in range(steps + 1))


def lcm_times(path: Path, trained: int) -> tuple[float, ...]:
    """Latent consistency models' grid of `trained` steps: see `LcmGrid`."""
    if not isinstance(path, DiscreteVp):
        return even_times(path, trained)
    stride = path.steps // trained
    return (*(float(i * stride - 1) for i in range(trained, 0, -1)), path.t_clean)


def spread_times(times: Sequence[float], steps: int) -> tuple[float, ...]:
    """The times of fewer steps out of a grid: evenly spaced in its list, rounded towards noise, and its last.

    Args:
        times: A grid of n steps, n + 1 falling times.
        steps: Steps, 1 to n.
    """
    count = len(times) - 1
    if not 1 <= steps <= count:
        raise RequestError.of("steps", steps, f"between 1 and {count}")
    return (*(times[i * count // steps] for i in range(steps)), times[-1])
