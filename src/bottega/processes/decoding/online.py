"""Online speculative decoding: a draft that learns, while it serves, from the tokens that it got wrong.

Source: arXiv:2310.07177, algorithm 2 and section 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bottega.errors import RequestError
from bottega.processes.decoding.divergences import Divergence, ForwardKl, distillation_loss
from bottega.processes.decoding.passes import padded_places


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Corrections:
    """One served text and what was wrong in its drafts.

    Args:
        tokens: Prompt and text.
        places: Indices of the tokens that the draft got wrong, at least 1 each.
        logits: The model's logits there, `(places, vocabulary)`.
    """

    tokens: tuple[int, ...]
    places: tuple[int, ...]
    logits: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class OnlineSettings:
    """How a draft learns.

    Args:
        every: Served texts between two updates.
        rate: Learning rate of AdamW, constant.
        passes: Gradient steps on the buffer at each update.
        divergence: From the model's distribution to the draft's.
        clip_norm: Largest L2 norm of the gradient.
    """

    every: int = 8
    rate: float = 1e-4
    passes: int = 1
    divergence: Divergence = ForwardKl()
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("every", self.every), ("passes", self.passes)):
            if value < 1:
                raise RequestError.of(name, value, "at least 1")
        if self.rate <= 0:
            raise RequestError.of("rate", self.rate, "above 0")


@dataclass(slots=True)
class Notes:
    """The corrections of texts that are being written; its `watch` is a `Watch`."""

    _wrong: dict[int, list[tuple[int, Tensor]]] = field(default_factory=dict)

    def watch(self, row: int, place: int, logits: Tensor) -> None:
        """Notes one rejected token."""
        self._wrong.setdefault(row, []).append((place, logits))

    def take(self, texts: Sequence[Sequence[int]]) -> dict[int, Corrections]:
        """The corrections of finished texts, each with its prompt, by row; rows without a wrong token are left out."""
        taken, self._wrong = self._wrong, {}
        found = {}
        for row, tokens in enumerate(texts):
            # a pass may go beyond the text's end
            wrong = [(place, logits) for place, logits in taken.get(row, []) if place < len(tokens)]
            if wrong:
                places, logits = zip(*wrong, strict=True)
                found[row] = Corrections(tokens=tuple(tokens), places=places, logits=torch.stack(logits))
        return found


class OnlineDistiller:
    """Trains a draft's model on a buffer of corrections, whenever enough texts were served.

    Only wrong places count: soft cross-entropy with the logits that the model computed when it judged.

    Args:
        network: The draft's model; trained in place.
        settings: How.
    """

    def __init__(self, network: nn.Module, settings: OnlineSettings = OnlineSettings()) -> None:
        self.network, self.settings = network, settings
        self.updates = 0
        self._buffer: list[Corrections] = []
        self._served = 0
        self._optimizer = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=0.0)

    def served(self, corrections: Iterable[Corrections], texts: int = 1) -> float | None:
        """Takes the corrections of served texts; returns the loss of the update that was due, or None."""
        self._buffer += corrections
        self._served += texts
        if self._served < self.settings.every:
            return None
        self._served = 0
        buffer, self._buffer = self._buffer, []
        return self._update(buffer) if buffer else None

    @torch.enable_grad()
    def _update(self, buffer: Sequence[Corrections]) -> float:
        tokens, at, counts = padded_places([each.tokens for each in buffer], [each.places for each in buffer])
        device = next(self.network.parameters()).device
        teacher = torch.nn.utils.rnn.pad_sequence([each.logits.clone() for each in buffer], batch_first=True)
        tokens, at, counts, teacher = (values.to(device) for values in (tokens, at, counts, teacher))
        first = 0.0
        for step in range(self.settings.passes):
            self._optimizer.zero_grad(set_to_none=True)
            loss = distillation_loss(self.network(tokens, at=at), teacher, counts, self.settings.divergence)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
            self._optimizer.step()
            first = float(loss.detach()) if step == 0 else first
        self.updates += 1
        return first
