"""Mixtures of experts: layers in which each token meets a few of many feed-forward networks.

`TokenChoice` lets tokens choose their experts, as Mixtral does; with null experts, which cost nothing, tokens choose
how many (AdaMoE). `ExpertChoice` and `MixtureOfDepths` let experts or layers choose tokens of a whole text: balanced,
but what a token becomes then depends on tokens behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.layers.mlp import GatedMlp


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Routed:
    """Where a layer sent its tokens.

    Args:
        logits: Of the experts and, behind them, the null experts, `(tokens, slots)`.
        chosen: The slots of each token, the likeliest first, `(tokens, choices)`.
        weights: The share of each choice in the token's output, `(tokens, choices)`; 0 at null experts.
        experts: How many slots are experts.
    """

    logits: Tensor
    chosen: Tensor
    weights: Tensor
    experts: int

    @property
    def real(self) -> Tensor:
        """How many experts work on each token, `(tokens,)`."""
        return (self.chosen < self.experts).sum(-1)


def route(logits: Tensor, choices: int, experts: int) -> Routed:
    """Every token's likeliest slots; the experts among them share its output by their probabilities.

    Args:
        logits: `(tokens, slots)`; slots from `experts` on are null experts.
        choices: Slots a token chooses.
        experts: How many slots are experts.

    Source: arXiv:2406.13233, section 3; without null experts arXiv:2401.04088, section 2.1.
    """
    top, chosen = logits.float().softmax(-1).topk(choices, dim=-1)
    kept = top * (chosen < experts)
    total = kept.sum(-1, keepdim=True)
    weights = kept / total.where(total > 0, 1.0)  # a token of null experts only gets nothing
    return Routed(logits=logits, chosen=chosen, weights=weights, experts=experts)


def balance_loss(routed: Routed) -> Tensor:
    """What a layer pays for uneven use of its slots: `choices` where tokens and probabilities are spread evenly.

    The null experts do the same, so it does not matter which of them is chosen: all count with their mean load.

    Source: arXiv:2101.03961, equations 4 to 6; arXiv:2406.13233, section 3.
    """
    slots, experts = routed.logits.shape[-1], routed.experts
    load = F.one_hot(routed.chosen, slots).sum(1).float().mean(0)
    if slots > experts:
        load = torch.cat((load[:experts], load[experts:].mean().expand(slots - experts)))
    return slots * (load * routed.logits.float().softmax(-1).mean(0)).sum()


class TokenChoice(nn.Module):
    """Each token chooses its experts: Mixtral's sparse layer, and AdaMoE's when there are null experts.

    Args:
        width: Channels of a token.
        hidden: Channels inside an expert.
        experts: How many there are.
        choices: Slots a token chooses.
        nulls: Null experts: slots that add nothing and cost nothing.

    Raises:
        ValueError: More choices than slots.
    """

    def __init__(self, width: int, hidden: int, *, experts: int, choices: int, nulls: int = 0) -> None:
        super().__init__()
        if not 1 <= choices <= experts + nulls:
            raise ValueError(f"{choices} choices among {experts} experts and {nulls} null experts")
        self.choices = choices
        self.gate = nn.Linear(width, experts, bias=False)
        self.null_gate = nn.Linear(width, nulls, bias=False) if nulls else None
        self.experts = nn.ModuleList(GatedMlp(width, hidden) for _ in range(experts))
        self.seen: list[Routed] | None = None

    def route(self, x: Tensor) -> Routed:
        """The choices of tokens `(tokens, width)`."""
        logits = self.gate(x)
        if self.null_gate is not None:
            logits = torch.cat((logits, self.null_gate(x)), dim=-1)
        return route(logits, self.choices, len(self.experts))

    def forward(self, x: Tensor) -> Tensor:
        """`(..., width)` to `(..., width)`."""
        flat = x.reshape(-1, x.shape[-1])
        routed = self.route(flat)
        if self.seen is not None:
            self.seen.append(routed)
        out = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            tokens, places = (routed.chosen == number).nonzero(as_tuple=True)
            if len(tokens):
                made = expert(flat[tokens]) * routed.weights[tokens, places, None]
                out.index_add_(0, tokens, made.to(out.dtype))
        return out.view(x.shape)


@contextmanager
def watched(model: nn.Module) -> Iterator[list[Routed]]:
    """Collects what every `TokenChoice` of a model does meanwhile: one entry a layer and pass, in order."""
    found: list[Routed] = []
    layers = [part for part in model.modules() if isinstance(part, TokenChoice)]
    for layer in layers:
        layer.seen = found
    try:
        yield found
    finally:
        for layer in layers:
            layer.seen = None


class ExpertChoice(nn.Module):
    """Each expert chooses its tokens among all of a text: even work by construction, and not causal.

    Args:
        width: Channels of a token.
        hidden: Channels inside an expert.
        experts: How many there are.
        capacity: Experts that work on a token on average.

    Source: arXiv:2202.09368, section 3.2.
    """

    def __init__(self, width: int, hidden: int, *, experts: int, capacity: float) -> None:
        super().__init__()
        self.capacity = capacity
        self.gate = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(GatedMlp(width, hidden) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        """Texts `(batch, tokens, width)` to the same shape."""
        count = min(x.shape[1], max(1, round(x.shape[1] * self.capacity / len(self.experts))))
        weights, places = self.gate(x).float().softmax(-1).transpose(1, 2).topk(count, dim=-1)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            where = places[:, number, :, None].expand(-1, -1, x.shape[-1])
            made = expert(x.gather(1, where)) * weights[:, number, :, None]
            out = out.scatter_add(1, where, made.to(out.dtype))
        return out


class MixtureOfDepths(nn.Module):
    """A layer that works on some tokens of each text and passes the others by: not causal.

    Args:
        width: Channels of a token.
        capacity: Share of tokens that the layer works on, above 0 and at most 1.

    Source: arXiv:2404.02258, section 3.4, equation 1.
    """

    def __init__(self, width: int, capacity: float) -> None:
        super().__init__()
        self.capacity = capacity
        self.router = nn.Linear(width, 1, bias=False)

    def forward(self, x: Tensor, body: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Texts `(batch, tokens, width)` to the same shape.

        Args:
            x: The texts.
            body: Chosen tokens `(batch, chosen, width)` in their order, and their places `(batch, chosen)`, to what is
                added to them.
        """
        count = max(1, round(x.shape[1] * self.capacity))
        scores = self.router(x)[..., 0]
        places = scores.topk(count, dim=-1).indices.sort(-1).values
        where = places[..., None].expand(-1, -1, x.shape[-1])
        made = body(x.gather(1, where), places) * scores.gather(1, places)[..., None]
        return x.scatter_add(1, where, made.to(x.dtype))
