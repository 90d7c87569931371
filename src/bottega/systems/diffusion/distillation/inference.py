"""Running a student: words to pictures in a few steps. The only code that users run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bottega.data import tensor_to_pictures
from bottega.errors import RequestError
from bottega.processes.diffusion import StepReport
from bottega.results import PicturesResult
from bottega.room import Progress, Report
from bottega.systems.diffusion.distillation.model import Distillation, strengths
from bottega.training import draw_generators

MAX_ITEMS, MAX_STEPS = 256, 8


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillationRequest:
    """What to make with a few-step student."""

    inputs: tuple[str, ...] = ()
    """Words or class names, as the teacher takes them; none for pictures of any kind."""
    count: int = 1
    """How many to make of each input, 1 to 256 in all."""
    steps: int | None = None
    """Calls of the network, 1 to 8. Left out: as many as the student was distilled for."""
    guidance: float | None = None
    """How strongly the words pull, 0 to 50; only what the student was distilled for. Left out: 2, or the nearest."""
    seed: int = 0
    """The same seed makes the same bits, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if not 1 <= self.count * max(len(self.inputs), 1) <= MAX_ITEMS:
            raise RequestError.of("count", self.count, f"at least 1, and at most {MAX_ITEMS} items in all")
        if self.steps is not None and not 1 <= self.steps <= MAX_STEPS:
            raise RequestError.of("steps", self.steps, f"between 1 and {MAX_STEPS}")
        if self.guidance is not None and not 0.0 <= self.guidance <= 50.0:
            raise RequestError.of("guidance", self.guidance, "between 0 and 50")
        if not 0 <= self.seed < 2**31:
            raise RequestError.of("seed", self.seed, "between 0 and 2**31 - 1")


@torch.inference_mode()
def infer(model: Distillation, request: DistillationRequest, report: Report) -> PicturesResult:
    """Makes the pictures.

    Args:
        model: The student with its teacher.
        request: What to make.
        report: Called after every step; may raise `Cancelled`.

    Raises:
        RequestError: The teacher does not know an input, or the student not the strength of guidance.
    """
    teacher = model.teacher
    texts = [text for text in request.inputs or ("",) for _ in range(request.count)]
    steps = min(model.config.steps, MAX_STEPS) if request.steps is None else request.steps
    scale = strengths(model, request.guidance, len(texts))

    def after_step(step: int, total: int, x: Tensor, x0: Tensor) -> None:
        def preview() -> np.ndarray:
            return tensor_to_pictures(teacher.to_pictures(x0[:1].to(teacher.like)))[0]

        report(Progress(step=step, total=total, stage="denoise", preview=preview))

    states = draw(model, texts, scale, steps=steps, seed=request.seed, report=after_step)
    return PicturesResult(
        pictures=tensor_to_pictures(teacher.to_pictures(states)),
        captions=tuple(texts) if request.inputs else None,
        seed=request.seed,
        settings={"steps": steps, "guidance": float(scale[0])},
    )


def draw(
    model: Distillation, texts: Sequence[str], scale: Tensor, *, steps: int, seed: int, report: StepReport
) -> Tensor:
    """The student's clean states `(count, ...)`. Noise that consistency students add is drawn for all at once.

    Args:
        model: The student with its teacher.
        texts: What each item is of; "" for anything.
        scale: Strengths of guidance `(count,)`.
        steps: Steps.
        seed: Source of the noise.
        report: As solvers call it.
    """
    times = model.times(steps)
    start = model.teacher.start(draw_generators(seed, len(texts)), times[0])
    cond = model.student.asked(model.conditions(texts), scale)
    again = torch.Generator().manual_seed(seed)
    solver, function = model.solver(), model.function(model.student)
    return solver(function, start, times, model.path, cond=cond, generator=again, report=report)
