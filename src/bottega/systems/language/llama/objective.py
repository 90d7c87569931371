"""The loss of a language model."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def next_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log-likelihood of the next tokens, in nats.

    Args:
        logits: `(batch, tokens, vocabulary)`.
        targets: The ids that come next, `(batch, tokens)`.
    """
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
