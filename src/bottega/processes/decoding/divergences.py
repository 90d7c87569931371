"""How far a student's next-token distributions are from a teacher's, for distillation.

Source: arXiv:2310.07177, section 4.1; arXiv:2306.13649, section 2 (the generalised Jensen-Shannon divergence).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from bottega.errors import RequestError

Divergence = Callable[[Tensor, Tensor], Tensor]
"""`(student's logits, teacher's logits)`, each `(..., vocabulary)`, to nats `(...)`; 0 where they agree."""


@dataclass(frozen=True, slots=True)
class ForwardKl:
    """KL(teacher | student): its gradient is that of the soft cross-entropy."""

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The divergence."""
        return _kl(teacher.log_softmax(-1), student.log_softmax(-1))


@dataclass(frozen=True, slots=True)
class ReverseKl:
    """KL(student | teacher): the student leaves out what it cannot follow."""

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The divergence."""
        return _kl(student.log_softmax(-1), teacher.log_softmax(-1))


@dataclass(frozen=True, kw_only=True, slots=True)
class JensenShannon:
    """`b KL(teacher | m) + (1 - b) KL(student | m)` with `m = b teacher + (1 - b) student`.

    Args:
        weight: b, above 0 and below 1.
    """

    weight: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.weight < 1:
            raise RequestError.of("weight", self.weight, "above 0 and below 1")

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The divergence."""
        theirs, ours = teacher.log_softmax(-1), student.log_softmax(-1)
        tiny = 1e-20  # so that what neither says has a logarithm
        middle = (self.weight * theirs.exp() + (1 - self.weight) * ours.exp()).clamp(min=tiny).log()
        return self.weight * _kl(theirs, middle) + (1 - self.weight) * _kl(ours, middle)


def distillation_loss(student: Tensor, teacher: Tensor, counts: Tensor, divergence: Divergence = ForwardKl()) -> Tensor:
    """The mean divergence over chosen places; no gradient reaches the teacher.

    Args:
        student: Logits `(rows, places, vocabulary)`.
        teacher: Logits of the same shape.
        counts: Whether a place counts, `(rows, places)`.
        divergence: Which.

    Returns:
        Nats, a scalar; 0 where nothing counts.
    """
    values = divergence(student.float(), teacher.detach().float()) * counts
    return values.sum() / counts.sum().clamp(min=1)


def _kl(from_log: Tensor, to_log: Tensor) -> Tensor:
    return (from_log.exp() * (from_log - to_log)).sum(-1)
