"""Which token comes next: from logits to a distribution, and from a distribution to a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bottega.errors import RequestError


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How a token is drawn. Applied in this order: repetition penalty, temperature, top-k, top-p, min-p.

    Args:
        temperature: Divides the logits; 0 takes the likeliest token.
        top_k: Only the k likeliest tokens; 0 keeps all.
        top_p: Only the likeliest tokens that together reach this probability (arXiv:1904.09751, section 3.1).
        min_p: Only tokens with at least this share of the likeliest one's probability (arXiv:2407.01082, section 3).
        repetition_penalty: Divides positive and multiplies negative logits of tokens that the row already holds
            (arXiv:1909.05858, section 4.1); 1 changes nothing.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        for name, fits, allowed in (
            ("temperature", 0 <= self.temperature < float("inf"), "0 or more"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p < 1, "0 or more and below 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < float("inf"), "above 0"),
        ):
            if not fits:
                raise RequestError.of(name, getattr(self, name), allowed)

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken, so that nothing is random."""
        return self.temperature == 0


GREEDY = Sampling()


def probabilities(logits: Tensor, sampling: Sampling, held: Sequence[Sequence[int]] | None = None) -> Tensor:
    """The distribution that the next token is drawn from.

    Args:
        logits: `(rows, vocabulary)`, of any float type.
        sampling: How; a greedy one gives all probability to the likeliest token.
        held: The tokens that each row already holds, for the repetition penalty.

    Returns:
        float32 `(rows, vocabulary)`, each row summing to 1.
    """
    scores = logits.float()
    if sampling.repetition_penalty != 1 and held is not None:
        scores = _penalised(scores, sampling.repetition_penalty, held)
    if sampling.greedy:
        return torch.zeros_like(scores).scatter_(-1, scores.argmax(-1, keepdim=True), 1.0)
    scores = scores / sampling.temperature
    if 0 < sampling.top_k < scores.shape[-1]:
        least = scores.topk(sampling.top_k, dim=-1).values[..., -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    chances = scores.softmax(-1)
    if sampling.top_p < 1:
        ordered, order = chances.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered  # what the likelier tokens hold together
        chances = chances.masked_fill((before >= sampling.top_p).gather(-1, order.argsort(-1)), 0.0)
    if sampling.min_p > 0:
        chances = chances.masked_fill(chances < sampling.min_p * chances.amax(-1, keepdim=True), 0.0)
    return chances / chances.sum(-1, keepdim=True)


def draw(chances: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """One token `(rows,)` of each row's distribution `(rows, vocabulary)`, each row from its own generator."""
    rows = zip(chances, generators, strict=True)
    return torch.cat([torch.multinomial(row.cpu(), 1, generator=generator) for row, generator in rows])


def next_tokens(
    logits: Tensor,
    sampling: Sampling,
    generators: Sequence[torch.Generator],
    held: Sequence[Sequence[int]] | None = None,
) -> Tensor:
    """The next token `(rows,)` of each row of logits `(rows, vocabulary)`; greedy choices draw nothing."""
    if sampling.greedy and (sampling.repetition_penalty == 1 or held is None):
        return logits.argmax(-1).cpu()
    return draw(probabilities(logits, sampling, held), generators)


def _penalised(scores: Tensor, penalty: float, held: Sequence[Sequence[int]]) -> Tensor:
    seen = torch.zeros_like(scores, dtype=torch.bool)
    for row, tokens in zip(seen, held, strict=True):
        row[torch.tensor(list(tokens), dtype=torch.long, device=row.device)] = True
    return torch.where(seen, torch.where(scores > 0, scores / penalty, scores * penalty), scores)
