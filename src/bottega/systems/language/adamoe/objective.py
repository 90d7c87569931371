"""What the decoder is trained to do: expect the next token, and use all experts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bottega.layers import Routed, balance_loss, watched
from bottega.networks import Llama


def adamoe_loss(model: Llama, windows: Tensor, balance: float) -> dict[str, Tensor]:
    """The likelihood of the next tokens, and the balance of experts where tokens choose them.

    Args:
        model: The decoder.
        windows: Ids `(batch, tokens + 1)`.
        balance: Weight of the balance loss.

    Returns:
        "loss"; of it "nats" a token; and, where tokens choose experts, the mean "balance" and how many "experts" work
        on a token.

    Source: arXiv:2406.13233, section 3.
    """
    with watched(model) as found:
        logits = model(windows[:, :-1])
    nats = F.cross_entropy(logits.flatten(0, 1).float(), windows[:, 1:].flatten())
    if not found:
        return {"loss": nats, "nats": nats}
    balances = torch.stack([balance_loss(routed) for routed in found]).mean()
    return {
        "loss": nats + balance * balances,
        "nats": nats,
        "balance": balances,
        "experts": real_experts(found),
    }


def real_experts(found: Sequence[Routed]) -> Tensor:
    """How many experts work on a token, on average over tokens and layers."""
    return torch.cat([routed.real for routed in found]).float().mean()
