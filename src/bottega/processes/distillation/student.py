"""The student of any diffusion model: a copy of its network, which may be told the strength of guidance."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from bottega.errors import RequestError
from bottega.processes.diffusion import Denoised, Denoiser, Prior, Time, repeat_rows
from bottega.processes.distillation.progressive import guided_target

PATTERNS, EMBEDDING = 8, 256


@dataclass(frozen=True, kw_only=True, slots=True)
class GuidanceRange:
    """The strengths of guidance that a student knows, in the sense of `ClassifierFree.scale`.

    Args:
        low: The least.
        high: The greatest; equal to `low` for a student of one strength, which is not told it.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 50:
            raise RequestError.of("guidance", (self.low, self.high), "0 <= low <= high <= 50")

    @property
    def varies(self) -> bool:
        """Whether there is more than one strength."""
        return self.high > self.low

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` strengths, float32, all alike."""
        return self.low + (self.high - self.low) * torch.rand(count, generator=generator, device=generator.device)


def guidance_embedding(scale: Tensor, width: int = EMBEDDING) -> Tensor:
    """Sines and cosines of 1000 w, w = scale - 1: `(b,)` to `(b, width)`.

    Source: arXiv:2310.04378 section 4.2, whose published pipeline has these frequencies.
    """
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=scale.device) * (-math.log(10_000.0) / (half - 1)))
    angles = 1000.0 * (scale.float() - 1.0)[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), dim=1)


@final
class GuidanceInput(nn.Module):
    """Tells a network of any kind the strength of guidance: learned patterns that are added to its input.

    A strength's embedding weighs a few patterns of the state's shape. The weights start at zero, so that the student
    starts as a copy of its teacher.

    Args:
        shape: Shape of one state.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weigh = nn.Linear(EMBEDDING, PATTERNS)
        self.patterns = nn.Parameter(torch.randn(PATTERNS, *shape))
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        """States `(b, *shape)` with the patterns of strengths `(b,)`."""
        weights = self.weigh(guidance_embedding(scale).to(self.weigh.weight.dtype))
        return x + torch.tensordot(weights.to(self.patterns.dtype), self.patterns, dims=1)


@final
class Student(nn.Module):
    """A copy of a teacher's network, called as `(x_t, t, cond)`.

    A student of several strengths of guidance takes `(cond, scale)` for `cond`, with a scale `(b,)`.

    Args:
        teacher: Whose network is copied.
        guidance: The strengths that it is to know.
    """

    def __init__(self, teacher: Prior, guidance: GuidanceRange) -> None:
        super().__init__()
        self.network = copy.deepcopy(teacher.network)
        self.network.requires_grad_(True)
        self.guidance = GuidanceInput(teacher.shape).to(teacher.like) if guidance.varies else None

    def forward(self, x_t: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        """The output that the teacher's prediction stands for."""
        if self.guidance is None:
            return self.network(x_t, t, cond)
        cond, scale = cond
        return self.network(self.guidance(x_t, scale), t, cond)

    def asked(self, cond: Any, scale: Tensor) -> Any:
        """What this student takes for a condition at strengths `(b,)`."""
        return cond if self.guidance is None else (cond, scale)


@final
@dataclass(frozen=True, slots=True)
class GuidedTeacher:
    """A teacher under guidance as a denoiser of `(cond, scale)`, with a strength `(b,)` for each sample.

    Args:
        denoiser: The teacher.
        null_cond: The condition that says nothing, of one row.
    """

    denoiser: Denoiser
    null_cond: Any

    def __call__(self, x_t: Tensor, t: Time, cond: Any = None) -> Tensor:
        """The guided clean sample."""
        cond, scale = cond
        uncond = self.denoiser(x_t, t, repeat_rows(self.null_cond, len(x_t)))
        return guided_target(self.denoiser(x_t, t, cond), uncond, scale)


def teacher_of(prior: Prior, guidance: GuidanceRange) -> Denoiser:
    """The denoiser that a student of these strengths learns from; it takes the same conditions as the student.

    Raises:
        RequestError: The model has no null condition and guidance is not 1.
    """
    if not guidance.varies:
        return prior.guided(guidance.low)
    if prior.null_cond is None:
        bounds = (guidance.low, guidance.high)
        raise RequestError.of("guidance", bounds, "1 to 1 for this teacher", "it has no null condition")
    return GuidedTeacher(prior.denoiser(), prior.null_cond)


def student_denoiser(student: nn.Module, prior: Prior) -> Denoised:
    """A student's network as a `Denoiser`: on its teacher's path, with its teacher's prediction."""
    return Denoised(student, prior.path, prior.prediction)
