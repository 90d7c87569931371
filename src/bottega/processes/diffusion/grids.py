"""Time grids: the times that a sampler visits, from the noisiest to the last, as a tuple of floats.

A grid of `steps` steps holds `steps + 1` times; the last is where the sample ends (by default the clean end).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, final

from bottega.errors import RequestError
from bottega.processes.diffusion.paths import DiscreteVp, Path


class Grid(Protocol):
    """Where a sampler stops on a path."""

    def __call__(self, path: Path) -> tuple[float, ...]:
        """The times, falling."""
        ...


@final
@dataclass(frozen=True, slots=True)
class UniformGrid:
    """Even in the path's own time from t_max to the clean end; fractional indices on a discrete path.

    Args:
        steps: Number of steps, at least 1.
        shift: Moves steps to the noisy end (above 1): u becomes shift u / (1 + (shift - 1) u), u the place between the
            clean end 0 and the noisy end 1. Stable Diffusion 3 uses 3. Source: arXiv:2403.03206 section 5.3.2.
    """

    steps: int
    shift: float = 1.0

    def __post_init__(self) -> None:
        _check_steps(self.steps)
        if not 0 < self.shift < math.inf:
            raise RequestError.of("shift", self.shift, "above 0 and finite")

    def __call__(self, path: Path) -> tuple[float, ...]:
        """The times."""
        places = [1.0 - i / self.steps for i in range(self.steps + 1)]
        shifted = [self.shift * u / (1.0 + (self.shift - 1.0) * u) for u in places]
        return tuple(path.t_clean + u * (path.t_max - path.t_clean) for u in shifted)


@final
@dataclass(frozen=True, slots=True)
class LeadingGrid:
    """Indices i * (N // steps) + offset, then the clean end: diffusers' "leading" spacing. Discrete paths only.

    Args:
        steps: Number of steps, from 1 to N.
        offset: Added to each index; Stable Diffusion and PNDM use 1.
    """

    steps: int
    offset: int = 0

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(self, path: Path) -> tuple[float, ...]:
        """The times."""
        count = _count(path, self.steps)
        stride = count // self.steps
        indices = [i * stride + self.offset for i in reversed(range(self.steps))]
        if not 0 <= indices[-1] <= indices[0] < count:
            raise RequestError.of("offset", self.offset, f"such that {self.steps} steps stay inside 0 ... {count - 1}")
        return (*map(float, indices), path.t_clean)


@final
@dataclass(frozen=True, slots=True)
class LinspaceGrid:
    """Even from N - 1 to 0, both included, then the clean end: diffusers' "linspace" spacing. Discrete paths only.

    Args:
        steps: Number of steps, from 1 to N.
        whole: Whether times are rounded to whole indices.
        last_index: Whether index 0 is visited. Without it, the `steps` times are those of `steps + 1` even ones less
            the last, as in DPM-Solver.
    """

    steps: int
    whole: bool = True
    last_index: bool = True

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(self, path: Path) -> tuple[float, ...]:
        """The times."""
        count = _count(path, self.steps)
        gaps = self.steps - 1 if self.last_index else self.steps
        times = [(count - 1) * (gaps - i) / max(gaps, 1) for i in range(self.steps)]
        return (*(float(round(t)) if self.whole else t for t in times), path.t_clean)


@final
@dataclass(frozen=True, slots=True)
class TrailingGrid:
    """Indices round(N - i N / steps) - 1, then the clean end: diffusers' "trailing" spacing. Discrete paths only.

    Args:
        steps: Number of steps, from 1 to N.

    Source: arXiv:2305.08891 table 2.
    """

    steps: int

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(self, path: Path) -> tuple[float, ...]:
        """The times."""
        count = _count(path, self.steps)
        return (*(float(round(count - i * count / self.steps) - 1) for i in range(self.steps)), path.t_clean)


@final
@dataclass(frozen=True, slots=True)
class EdmGrid:
    """Noise levels s = sigma / alpha even in s^(1 / rho) from the noisiest to the least trained one, then clean.

    Args:
        steps: Number of steps, at least 1.
        rho: Above 1 crowds the steps near the data; the paper's is 7.

    Source: arXiv:2206.00364 equation 5.
    """

    steps: int
    rho: float = 7.0

    def __post_init__(self) -> None:
        _check_steps(self.steps)
        if not 0 < self.rho < math.inf:
            raise RequestError.of("rho", self.rho, "above 0 and finite")

    def __call__(self, path: Path) -> tuple[float, ...]:
        """The times."""
        noisy, clean = (math.exp(-0.5 * value / self.rho) for value in _log_snr_ends(path))
        roots = [noisy + i / max(self.steps - 1, 1) * (clean - noisy) for i in range(self.steps)]
        return (path.t_max, *(path.time_of_log_snr(-2.0 * self.rho * math.log(r)) for r in roots[1:]), path.t_clean)


@final
@dataclass(frozen=True, slots=True)
class LogSnrGrid:
    """Even in log-SNR from the noisiest to the least trained noise level, then the clean end.

    Args:
        steps: Number of steps, at least 1.

    Source: arXiv:2211.01095 section 4 ("logSNR").
    """

    steps: int

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(self, path: Path) -> tuple[float, ...]:
        """The times."""
        noisy, clean = _log_snr_ends(path)
        values = [noisy + i / max(self.steps - 1, 1) * (clean - noisy) for i in range(1, self.steps)]
        return (path.t_max, *(path.time_of_log_snr(value) for value in values), path.t_clean)


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise RequestError.of("steps", steps, "at least 1")


def _count(path: Path, steps: int) -> int:
    if not isinstance(path, DiscreteVp):
        raise RequestError.of("the path", type(path).__name__, "DiscreteVp for this grid", "use UniformGrid or EdmGrid")
    if steps > path.steps:
        raise RequestError.of("steps", steps, f"at most {path.steps}, the number of trained steps")
    return path.steps


def _log_snr_ends(path: Path) -> tuple[float, float]:
    ends = path.log_snr(path.t_max), path.log_snr(path.t_min)
    if not all(map(math.isfinite, ends)):
        fix = "use UniformGrid, or a path with t_min and t_max inside, such as RectifiedFlow(t_min=1e-3, t_max=0.999)"
        raise RequestError.of("log-SNR at the path's ends", ends, "finite for this grid", fix)
    return ends
