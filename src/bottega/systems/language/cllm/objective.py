"""The losses: agreement of states with the solution or the next state, and the language model's own.

Source: arXiv:2403.00835, equations 5 to 8.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from bottega.processes.decoding import ForwardKl, distillation_loss

FORWARD = ForwardKl()


def consistency_loss(state: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """Mean divergence, over the tokens of a block, of what a state says of them from what the target says.

    Args:
        state: Logits of a state `(rows, block, vocabulary)`.
        target: Logits of the solution (global) or the next state (local); no gradient reaches them.
        counts: 1 for tokens of the text, 0 beyond its end, `(rows, block)`.

    Returns:
        Nats.
    """
    return distillation_loss(state, target, counts, FORWARD)


def autoregressive_loss(logits: Tensor, tokens: Tensor, counts: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean negative log-likelihood of an answer's tokens.

    Args:
        logits: `(rows, tokens, vocabulary)`.
        tokens: The answer's ids `(rows, tokens)`.
        counts: 1 for tokens of the answer, `(rows, tokens)`.
        smoothing: Share of the labels that is spread over all tokens.

    Returns:
        Nats.
    """
    each = F.cross_entropy(logits.float().transpose(1, 2), tokens, reduction="none", label_smoothing=smoothing)
    return (each * counts).sum() / counts.sum().clamp(min=1)
