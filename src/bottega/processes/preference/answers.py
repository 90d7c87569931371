"""What a model says of answers: its loss on them alone, and their log-probabilities."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def log_chances(logits: Tensor, tokens: Tensor) -> Tensor:
    """The log-probability of each token behind the ones before it.

    Args:
        logits: `(batch, tokens, vocabulary)` of a causal model that read `tokens`.
        tokens: Ids `(batch, tokens)`.

    Returns:
        float32 `(batch, tokens - 1)`: entry t is of token t + 1.
    """
    return -F.cross_entropy(logits[:, :-1].float().transpose(1, 2), tokens[:, 1:], reduction="none")


def answer_loss(logits: Tensor, tokens: Tensor, learned: Tensor) -> Tensor:
    """Mean negative log-likelihood of the answers' tokens; what was asked is read but not learned.

    Args:
        logits: `(batch, tokens, vocabulary)`.
        tokens: Ids `(batch, tokens)`.
        learned: True `(batch, tokens)` at the tokens of answers.

    Source: arXiv:2307.09288, section 3.1 (the loss on tokens of the prompt is zero).
    """
    return -masked_mean(log_chances(logits, tokens), learned[:, 1:])


def sequence_log_chances(logits: Tensor, tokens: Tensor, learned: Tensor) -> Tensor:
    """The log-probability of each row's answer as a whole, `(batch,)`; arguments as in `answer_loss`."""
    return (log_chances(logits, tokens) * learned[:, 1:]).sum(1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over all places where the mask is True; 0 where it nowhere is."""
    return (values * mask).sum() / mask.sum().clamp_min(1)
