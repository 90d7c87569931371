"""The draft beside the model that it drafts for. Only the draft's tensors are the system's own."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bottega.errors import RequestError, WeightsError
from bottega.layers import undo_preparation
from bottega.networks import Llama
from bottega.processes.decoding import Language
from bottega.systems.language.speculative.config import SpeculativeConfig


class Speculative(nn.Module):
    """A draft of the language model that `connect` is given."""

    def __init__(self, config: SpeculativeConfig) -> None:
        super().__init__()
        self.config = config
        self.draft = Llama(config.draft)
        self._parts: dict[str, Language] = {}

    def forward(self, tokens: Tensor, *, at: Tensor | None = None) -> Tensor:
        """The draft's logits. See `Llama.forward`."""
        return self.draft(tokens, at=at)

    def connect(self, parts: Mapping[str, Language]) -> None:
        """Takes the model that is drafted for.

        Raises:
            RequestError: It has another vocabulary than the draft.
        """
        theirs, ours = parts["target"].model.vocabulary, self.config.draft.vocabulary
        if theirs != ours:
            raise RequestError.of("target", self.config.target, f"a model of {ours} token ids", f"it has {theirs}")
        self._parts = dict(parts)

    @property
    def target(self) -> Language:
        """The model that is drafted for, with its tokenizer.

        Raises:
            WeightsError: None was connected.
        """
        if "target" not in self._parts:
            raise WeightsError(
                f"no language model is connected; load this room by `bottega.load` ({self.config.target})"
            )
        return self._parts["target"]

    @property
    def network(self) -> nn.Module:
        """The target as a module, for counting and for passes with gradients."""
        model = self.target.model
        if not isinstance(model, nn.Module):
            raise TypeError(f"the target is a {type(model).__name__}, which is no module")
        return model

    @property
    def cost(self) -> float:
        """What one token of the draft costs in passes of the target: the ratio of what must be read from memory."""
        own, theirs = (sum(p.numel() for p in part.parameters()) for part in (self.draft, self.network))
        return own / theirs

    def learner(self, *, fresh_seed: int | None = None) -> Llama:
        """A copy of the draft that may be trained without changing it; or one with fresh weights of a seed."""
        if fresh_seed is None:
            made = copy.deepcopy(self.draft)
            undo_preparation(made)
        else:
            made = fresh(self.draft, fresh_seed)
        return made.requires_grad_(True)


def fresh(like: Llama, seed: int) -> Llama:
    """A draft of the same size with weights of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Llama(like.config)
    return made.to(next(like.parameters()).device)
