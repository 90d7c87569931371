"""Progressive distillation: a student learns to do in one DDIM step what its teacher does in two.

Source: Salimans and Ho, arXiv:2202.00512, section 3 and algorithm 2; for guided teachers arXiv:2210.03142.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bottega.processes.diffusion import X0, Denoiser, Path, TruncatedSnr, Weighting
from bottega.processes.distillation.steps import DdimSteps, implied_x0


@torch.no_grad()
def progressive_target(teacher: Denoiser, x: Tensor, t: Tensor, end: Tensor, path: Path, cond: Any = None) -> Tensor:
    """The clean sample with which one DDIM step from `t` to `end` equals the teacher's two, by way of the middle.

    Args:
        teacher: The denoiser that takes two steps.
        x: States `(b, ...)` at times t.
        t: `(b,)`.
        end: `(b,)`, before t.
        path: The noise path; the middle is half way in its time.
        cond: Handed to the teacher.
    """
    ahead = DdimSteps(2)(teacher, x, t, end, path, cond)
    return implied_x0(x, ahead, t, end, path)


def guided_target(cond: Tensor, uncond: Tensor, scale: Tensor) -> Tensor:
    """What a student of guidance matches: uncond + scale (cond - uncond), a scale `(b,)` for each sample.

    Source: arXiv:2210.03142 equation 4, where w = scale - 1.
    """
    return torch.lerp(uncond, cond, scale.to(cond.dtype).reshape(-1, *[1] * (cond.ndim - 1)))


def matching_loss(
    student: Denoiser,
    target: Tensor,
    x: Tensor,
    t: Tensor,
    cond: Any = None,
    *,
    path: Path,
    weighting: Weighting = TruncatedSnr(),  # noqa: B008 - frozen
) -> Tensor:
    """The weighted squared error of the student's clean sample against a target, `(b,)`.

    The loss of progressive distillation (target: `progressive_target`) and of the first stage of guided distillation
    (target: the guided teacher).

    Args:
        student: What learns.
        target: Clean samples of x's shape.
        x: States at times t.
        t: `(b,)`.
        cond: Handed to the student.
        path: The noise path.
        weighting: How much each noise level counts; the default is the papers' max(SNR, 1).
    """
    error = (student(x, t, cond) - target).square().flatten(1).mean(1)
    return weighting(path.alpha(t), path.sigma(t), X0()).to(error.dtype) * error


def halvings(start: int, end: int) -> tuple[int, ...]:
    """Steps of the students of each round: start / 2, start / 4, ... end.

    Raises:
        ValueError: `start` is not `end` times a power of two above 1.
    """
    rounds = []
    while start > end and start % 2 == 0:
        start //= 2
        rounds.append(start)
    if not rounds or start != end:
        raise ValueError(f"the steps must halve from {start} to {end} in whole numbers")
    return tuple(rounds)
