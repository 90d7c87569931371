"""A student beside its teacher. Only the student's tensors are the system's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bottega.errors import RequestError
from bottega.layers import undo_preparation
from bottega.processes.diffusion import Ddim, Denoiser, EdmGrid, Path, Prior, Solver, UniformGrid, repeat_rows
from bottega.processes.distillation import (
    ConsistencyFunction,
    ConsistencySampler,
    KarrasBoundary,
    LcmBoundary,
    Student,
    choose_rows,
    lcm_times,
    spread_times,
    student_denoiser,
)
from bottega.systems.diffusion.distillation.config import (
    Consistency,
    ConsistencyTraining,
    DistillationConfig,
    LatentConsistency,
    Spacing,
)


class Distillation(nn.Module):
    """A student of the teacher that `connect` is given."""

    student: Student

    def __init__(self, config: DistillationConfig) -> None:
        super().__init__()
        self.config = config
        self._teacher: Prior | None = None

    def connect(self, teacher: Prior) -> None:
        """Takes a teacher, and makes the student as a copy of it.

        Raises:
            RequestError: The teacher cannot be guided as the configuration says.
        """
        guidance = self.config.guidance
        if teacher.null_cond is None and (guidance.low, guidance.high) != (1.0, 1.0):
            bounds = (guidance.low, guidance.high)
            raise RequestError.of("guidance", bounds, "1 to 1 for this teacher", "it has no null condition")
        self._teacher = teacher
        self.student = Student(teacher, guidance)
        undo_preparation(self.student)

    @property
    def teacher(self) -> Prior:
        """The teacher.

        Raises:
            RequestError: There is none yet.
        """
        if self._teacher is None:
            raise RequestError("the student has no teacher yet; build it with bottega.build or bottega.load")
        return self._teacher

    @property
    def path(self) -> Path:
        """The noise path of both."""
        return self.teacher.path

    def function(self, network: nn.Module) -> Denoiser:
        """A student's network (the trained one, or an average of it) as what the method makes of it."""
        denoiser = student_denoiser(network, self.teacher)
        match self.config.method:
            case Consistency() | ConsistencyTraining():
                return ConsistencyFunction(denoiser, self.path, KarrasBoundary())
            case LatentConsistency():
                return ConsistencyFunction(denoiser, self.path, LcmBoundary())
        return ConsistencyFunction(denoiser, self.path)

    def grid(self, steps: int) -> tuple[float, ...]:
        """Times of the teacher that takes so many steps."""
        if isinstance(self.config.method, LatentConsistency):
            return lcm_times(self.path, steps)
        return (EdmGrid(steps) if self.config.spacing is Spacing.KARRAS else UniformGrid(steps))(self.path)

    def times(self, steps: int) -> tuple[float, ...]:
        """Times of the student that takes so many steps."""
        return spread_times(self.grid(self.config.method.teacher_steps), steps)

    def solver(self) -> Solver:
        """What carries the student from time to time."""
        whole = isinstance(self.config.method, Consistency | ConsistencyTraining | LatentConsistency)
        return ConsistencySampler() if whole else Ddim()

    def conditions(self, inputs: Sequence[str]) -> Any:  # noqa: ANN401 - the teacher's type
        """The teacher's conditions for inputs, one row each; "" says nothing.

        Raises:
            RequestError: The teacher does not know an input, or cannot be asked for nothing.
        """
        teacher, known = self.teacher, [text for text in inputs if text]
        if teacher.condition is None or not known:
            return repeat_rows(teacher.null_cond, len(inputs))
        cond = teacher.condition([text or known[0] for text in inputs])
        if len(known) == len(inputs):
            return cond
        if teacher.null_cond is None:
            raise RequestError.of("inputs", "", "words that the teacher knows", "it cannot be asked for nothing")
        silent = torch.tensor([not text for text in inputs], device=teacher.like.device)
        return choose_rows(silent, repeat_rows(teacher.null_cond, len(inputs)), cond)


def as_student_of(model: nn.Module) -> Distillation:
    """The model, which must be one of ours."""
    if not isinstance(model, Distillation):
        raise TypeError(f"this system is a Distillation, not a {type(model).__name__}")
    return model


def prior(model: Distillation) -> Prior:
    """A student as rooms see it that work on any diffusion model, at the least strength of guidance that it knows."""
    teacher, low = model.teacher, model.config.guidance.low

    def asked(cond: Any, count: int) -> Any:  # noqa: ANN401 - the teacher's type
        return model.student.asked(cond, torch.full((count,), low, device=teacher.like.device))

    def condition(inputs: Sequence[str]) -> Any:  # noqa: ANN401
        return asked(model.conditions(inputs), len(inputs))

    return Prior(
        network=model.student,
        path=teacher.path,
        prediction=teacher.prediction,
        shape=teacher.shape,
        to_pictures=teacher.to_pictures,
        from_pictures=teacher.from_pictures,
        size=teacher.size,
        condition=None if teacher.condition is None else condition,
        null_cond=None if teacher.null_cond is None else asked(teacher.null_cond, 1),
        input_of=teacher.input_of,
    )


def strengths(model: Distillation, guidance: float | None, count: int) -> Tensor:
    """The strength of guidance of each of `count` items.

    Raises:
        RequestError: The student does not know it.
    """
    known = model.config.guidance
    chosen = min(max(2.0, known.low), known.high) if guidance is None else guidance
    if not known.low <= chosen <= known.high:
        allowed = f"between {known.low:g} and {known.high:g}" if known.varies else f"{known.low:g}, or left out"
        raise RequestError.of("guidance", chosen, allowed, "that is what the student was distilled for")
    return torch.full((count,), chosen, device=model.teacher.like.device)
