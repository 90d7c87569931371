"""Losses of comparisons: a person found one of two answers better, and said by how much."""

from __future__ import annotations

from enum import Enum, IntEnum

import torch
import torch.nn.functional as F
from torch import Tensor


class Grade(IntEnum):
    """How much better the chosen answer is (arXiv:2307.09288, section 3.2.1)."""

    NEGLIGIBLY = 0
    SLIGHTLY = 1
    BETTER = 2
    SIGNIFICANTLY = 3


class Margins(Enum):
    """By how much a better answer's score must at least be higher (arXiv:2307.09288, table 27)."""

    NONE = "none"
    """Not at all: the plain Bradley-Terry model."""
    SMALL = "small"
    """1, 2/3, 1/3, 0."""
    LARGE = "large"
    """3, 2, 1, 0."""


_PER_GRADE = {Margins.NONE: 0.0, Margins.SMALL: 1 / 3, Margins.LARGE: 1.0}


def margins_of(grades: Tensor, margins: Margins) -> Tensor:
    """The margin of each grade (values of `Grade`), of the same shape, float32."""
    return grades.to(torch.float32) * _PER_GRADE[margins]


def ranking_loss(chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """-log sigmoid(chosen - rejected - margin), averaged.

    Args:
        chosen: Scores of the better answers `(batch,)`.
        rejected: Scores of the others.
        margin: `(batch,)` or one number.

    Source: arXiv:2307.09288, equation 2.
    """
    return -F.logsigmoid(chosen - rejected - margin).mean()


def dpo_loss(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """Direct preference optimisation: the policy is its own reward model.

    Args:
        chosen: Log-probability of the better answers under the policy less that under the reference, `(batch,)`.
        rejected: The same of the others.
        beta: How much a nat away from the reference costs.

    Source: arXiv:2305.18290, equation 7.
    """
    return -F.logsigmoid(beta * (chosen - rejected)).mean()
