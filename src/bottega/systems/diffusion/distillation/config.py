"""Methods of distillation as types, and sizes: a student has its teacher's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bottega.processes.diffusion import MinSnr, TruncatedSnr
from bottega.processes.distillation import (
    Colourfulness,
    GrowingSteps,
    GuidanceRange,
    Measured,
    PseudoHuber,
    Squared,
    halvings,
)
from bottega.room import Preset


@dataclass(frozen=True, kw_only=True, slots=True)
class Progressive:
    """Two steps become one, again and again. Source: arXiv:2202.00512.

    Args:
        teacher_steps: DDIM steps of the first teacher: the student's steps times a power of two.
        weighting: How much each noise level counts; the paper's max(SNR, 1) is for networks of x0 or v. For a
            network of noise, whose error in x0 explodes where there is no signal, take min(SNR, 5).
    """

    teacher_steps: int = 32
    weighting: TruncatedSnr | MinSnr = TruncatedSnr()


@dataclass(frozen=True, kw_only=True, slots=True)
class Guided:
    """A student of all strengths of guidance first, then as `Progressive`. Source: arXiv:2210.03142.

    Args:
        teacher_steps: As in `Progressive`.
        weighting: As in `Progressive`.
    """

    teacher_steps: int = 32
    weighting: TruncatedSnr | MinSnr = TruncatedSnr()


@dataclass(frozen=True, kw_only=True, slots=True)
class Consistency:
    """Consistency distillation. Source: arXiv:2303.01469 algorithm 2.

    Args:
        teacher_steps: Steps of the grid, N - 1; 17 in the paper.
        second_order: Whether the teacher takes Heun's step (the paper's choice) or DDIM's.
        target_decay: Decay of the averaged student that is the target.
        distance: Of the two ends.
    """

    teacher_steps: int = 17
    second_order: bool = True
    target_decay: float = 0.95
    distance: Squared | PseudoHuber = Squared()


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsistencyTraining:
    """Consistency training: no teacher, whose network only lends its weights to start from. Source: as above, 3.

    Args:
        growth: Grid steps and target decay over training.
        distance: Of the two ends.
    """

    growth: GrowingSteps = GrowingSteps()
    distance: Squared | PseudoHuber = Squared()

    @property
    def teacher_steps(self) -> int:
        """Steps of the finest grid."""
        return self.growth.last


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentConsistency:
    """LCM: consistency distillation of the guided teacher with skipped steps. Source: arXiv:2310.04378.

    Args:
        teacher_steps: DDIM steps of the teacher; one of them skips 20 of 1000 indices at 50.
        target_decay: As in `Consistency`.
        distance: Of the two ends; the published training takes PseudoHuber(0.001).
    """

    teacher_steps: int = 50
    target_decay: float = 0.95
    distance: Squared | PseudoHuber = PseudoHuber()


class Ahead(Enum):
    """How far the teacher goes for one update of MLCM."""

    STEP = "step"
    """One step; the student's average says where the segment ends from there: the published way."""
    SEGMENT = "segment"
    """To the end of the segment; the student learns from each of its states on the way, and from no average."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Multistep:
    """MLCM: consistency inside segments, fewer and fewer, without data. Source: arXiv:2406.05768.

    Args:
        segments: Segments before the last round, falling; the last round has as many as the student has steps.
        teacher_steps: DDIM steps of the teacher, a multiple of each number of segments.
        trajectories: How many go on side by side.
        ahead: How far the teacher goes for one update.
        target_decay: Decay of the averaged student that is the target.
        distance: Of the two ends.
        measured: Where they are compared.
        reward: What pictures should have more of; None for likeness to the teacher alone.
        reward_weight: How much the reward counts.
    """

    segments: tuple[int, ...] = (16, 8)
    teacher_steps: int = 48
    trajectories: int = 256
    ahead: Ahead = Ahead.STEP
    target_decay: float = 0.95
    distance: Squared | PseudoHuber = Squared()
    measured: Measured = Measured.STATE
    reward: Colourfulness | None = None
    reward_weight: float = 1e-4

    def __post_init__(self) -> None:
        if any(a <= b for a, b in zip(self.segments, self.segments[1:], strict=False)):
            raise ValueError(f"segments are {self.segments}, but they must fall")
        if any(count < 1 or self.teacher_steps % count for count in self.segments):
            raise ValueError(f"segments {self.segments} must divide the teacher's {self.teacher_steps} steps")
        if self.trajectories < 1:
            raise ValueError(f"trajectories is {self.trajectories}, but it must be at least 1")


Method = Progressive | Guided | Consistency | ConsistencyTraining | LatentConsistency | Multistep


class Spacing(Enum):
    """Where a grid of steps lies on the path."""

    EVEN = "even"
    """Even in the path's own time."""
    KARRAS = "karras"
    """Even in (sigma / alpha)^(1 / 7)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillationConfig:
    """A student.

    Args:
        teacher: A system of the catalogue that holds a diffusion model, and its size: `ID` or `ID:PRESET`.
        method: How it learns.
        steps: Steps that it is made for.
        guidance: Strengths of guidance that it knows.
        spacing: Where the teacher's steps lie; LCM has a grid of its own.
    """

    teacher: str = "uvit:tiny"
    method: Method = Multistep()
    steps: int = 4
    guidance: GuidanceRange = GuidanceRange(low=2.0, high=2.0)
    spacing: Spacing = Spacing.EVEN

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= self.method.teacher_steps:
            raise ValueError(f"steps is {self.steps}, but it must be from 1 to {self.method.teacher_steps}")
        match self.method:
            case Progressive() | Guided():
                halvings(self.method.teacher_steps, self.steps)
            case Multistep(teacher_steps=count) if count % self.steps:
                raise ValueError(f"steps is {self.steps}, but it must divide the teacher's {count} steps")

    @property
    def rounds(self) -> tuple[int, ...]:
        """Steps (or segments) of each round of training; 0 for the round in which guidance is matched."""
        match self.method:
            case Progressive():
                return halvings(self.method.teacher_steps, self.steps)
            case Guided():
                return 0, *halvings(self.method.teacher_steps, self.steps)
            case Multistep():
                return *(count for count in self.method.segments if count > self.steps), self.steps
        return (1,)


UNGUIDED, RANGE = GuidanceRange(low=1.0, high=1.0), GuidanceRange(low=1.0, high=4.0)
LCM_RANGE = GuidanceRange(low=3.0, high=15.0)
"""LCM's w is 2 to 14, and w = scale - 1."""


def _preset(parameters: int, source: str, config: DistillationConfig) -> Preset[DistillationConfig]:
    return Preset(config=config, parameters=parameters, source=source)


TINY = DistillationConfig(method=Multistep(teacher_steps=32, ahead=Ahead.SEGMENT))
TINY_2 = DistillationConfig(method=Multistep(teacher_steps=32, ahead=Ahead.SEGMENT, segments=(16, 8, 4)), steps=2)
PLAIN, TOLD = 1_946_628, 1_973_260
_PUBLISHED = DistillationConfig(teacher="uvit:imagenet256-h-2", method=LatentConsistency(), guidance=LCM_RANGE)

PRESETS = {
    "tiny": _preset(PLAIN, "MLCM in 4 segments from the tiny U-ViT, whose size it has", TINY),
    "tiny-2": _preset(PLAIN, "the same in 2 segments", TINY_2),
    "progressive": _preset(PLAIN, "tiny U-ViT, 32 steps to 4", DistillationConfig(method=Progressive())),
    "guided": _preset(
        TOLD, "tiny U-ViT with the strength of guidance, 32 steps to 4",
        DistillationConfig(method=Guided(), guidance=RANGE),
    ),
    "consistency": _preset(
        PLAIN, "tiny U-ViT", DistillationConfig(method=Consistency(), spacing=Spacing.KARRAS)
    ),
    "consistency-training": _preset(
        PLAIN, "tiny U-ViT",
        DistillationConfig(method=ConsistencyTraining(), spacing=Spacing.KARRAS, guidance=UNGUIDED),
    ),
    "lcm": _preset(
        TOLD, "tiny U-ViT with the strength of guidance",
        DistillationConfig(method=LatentConsistency(), guidance=RANGE),
    ),
    "lcm-imagenet256-h-2": _preset(
        500_866_840, "LCM's settings on U-ViT-H/2 at ImageNet 256: its 501 M and the strength of guidance", _PUBLISHED
    ),
}  # fmt: skip
"""Sizes by name. The numbers of LCM, CD and CT are the papers'; students of published sizes have the teacher's."""
