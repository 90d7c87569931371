"""From the scores of two reward models to what a policy is rewarded with, and the best of several answers."""

from __future__ import annotations

from math import log
from typing import Final

import torch
from torch import Tensor

UNSAFE: Final = 0.15
"""Below this probability of being safe, safety is all that counts (arXiv:2307.09288, section 3.2.3)."""


def gated(helpful: Tensor, safe: Tensor, safety_prompt: Tensor, threshold: float = UNSAFE) -> Tensor:
    """One score for each answer: that of safety where safety is asked for or missing, else that of helpfulness.

    Args:
        helpful: The helpfulness model's scores (logits) `(batch,)`.
        safe: The safety model's scores (logits).
        safety_prompt: True where the prompt is one of safety.
        threshold: Probability of safety below which an answer counts as unsafe.

    Source: arXiv:2307.09288, section 3.2.3: R_c. The paper gates probabilities and then undoes the sigmoid; these
    are the scores without that detour.
    """
    return torch.where(safety_prompt | (safe.sigmoid() < threshold), safe, helpful)


def whiten(values: Tensor) -> Tensor:
    """Values `(batch,)` with mean 0 and standard deviation 1, as a policy is rewarded with."""
    return (values - values.mean()) / (values.std(correction=0) + 1e-6)


def best_of(scores: Tensor) -> Tensor:
    """The index `(prompts,)` of the best of several answers' scores `(prompts, answers)`; of equals the first."""
    return (scores == scores.amax(1, keepdim=True)).int().argmax(1)


def best_of_divergence(count: int) -> float:
    """Upper bound in nats of how far the best of `count` answers is from the policy that drew them.

    Source: arXiv:2009.01325, appendix G.3: log n - (n - 1) / n.
    """
    return log(count) - (count - 1) / count
