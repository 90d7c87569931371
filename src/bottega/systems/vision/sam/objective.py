"""What Segment Anything minimises. Source: arXiv:2304.02643, section 3 ("Losses and training") and appendix A."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FOCAL, DICE, SCORE = 20.0, 1.0, 1.0
"""Weights of the three losses."""
ALPHA, GAMMA = 0.25, 2.0
"""The focal loss's balance of pixels inside and outside, and how little pixels count that are sure already."""


def focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy that counts sure pixels less, as a mean over a mask's pixels.

    Args:
        logits: `(..., height, width)`.
        targets: The share of each pixel that belongs to the mask, 0 to 1, of the same shape.

    Returns:
        `(...)`.

    Source: arXiv:1708.02002, equation 5; for shares between 0 and 1 the distance to them takes the place of 1 - p.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    away = (logits.sigmoid() - targets).abs()
    balance = ALPHA * targets + (1 - ALPHA) * (1 - targets)
    return (balance * away**GAMMA * entropy).mean((-2, -1))


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """One minus twice the overlap by the sum of both masks: 0 for a perfect mask, `(...)`.

    Source: arXiv:1606.04797, section 3; one pixel is added above and below, as in arXiv:2107.06278.
    """
    chances = logits.sigmoid()
    shared = (chances * targets).sum((-2, -1))
    return 1 - (2 * shared + 1) / (chances.sum((-2, -1)) + targets.sum((-2, -1)) + 1)


def true_overlap(logits: Tensor, targets: Tensor) -> Tensor:
    """Intersection over union of the masks with what they should be, `(...)`."""
    made, wanted = logits > 0, targets > 0.5
    union = (made | wanted).sum((-2, -1))
    return torch.where(union > 0, (made & wanted).sum((-2, -1)) / union.clamp(min=1), 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class AnswerLoss:
    """The loss of some prompts' answers.

    Args:
        loss: The mean over prompts.
        overlap: True overlap of every answer, `(..., answers)`.
    """

    loss: Tensor
    overlap: Tensor


def answer_loss(logits: Tensor, scores: Tensor, targets: Tensor) -> AnswerLoss:
    """The loss of each prompt's best answer, and of how well all scores tell the answers' overlaps.

    Args:
        logits: `(..., answers, s, s)`.
        scores: `(..., answers)`.
        targets: Shares of pixels, `(..., s, s)`.
    """
    logits, wanted = logits.float(), targets[..., None, :, :].expand_as(logits)
    masks = FOCAL * focal_loss(logits, wanted) + DICE * dice_loss(logits, wanted)
    overlap = true_overlap(logits.detach(), wanted)
    told = SCORE * (scores.float() - overlap).square().mean(-1)
    return AnswerLoss((masks.amin(-1) + told).mean(), overlap)
