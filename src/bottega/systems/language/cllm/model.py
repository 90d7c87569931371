"""A tuned model beside the one that it was tuned from. Only the tuned one's tensors are the system's own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bottega.errors import RequestError, WeightsError
from bottega.networks import Llama
from bottega.processes.decoding import Language
from bottega.systems.language.cllm.config import CllmConfig


class Cllm(nn.Module):
    """A language model that solves for many tokens at once."""

    def __init__(self, config: CllmConfig) -> None:
        super().__init__()
        self.config = config
        self.student = Llama(config.network)
        self._parts: dict[str, Language] = {}

    def forward(self, tokens: Tensor, *, at: Tensor | None = None) -> Tensor:
        """The tuned model's logits. See `Llama.forward`."""
        return self.student(tokens, at=at)

    def connect(self, parts: Mapping[str, Language]) -> None:
        """Takes the model to start from, and its weights.

        Raises:
            RequestError: It is no LLaMA of the configured size.
        """
        source = parts["target"].model
        found = source.config if isinstance(source, Llama) else type(source).__name__
        if not isinstance(source, Llama) or found != self.config.network:
            raise RequestError.of("target", self.config.target, f"a LLaMA of {self.config.network}", f"it is {found}")
        self._parts = dict(parts)
        with torch.no_grad():
            for mine, theirs in zip(self.student.parameters(), source.parameters(), strict=True):
                mine.copy_(theirs)

    @property
    def target(self) -> Language:
        """The model that this one was tuned from, with its tokenizer.

        Raises:
            WeightsError: None was connected.
        """
        if not self._parts:
            raise WeightsError(f"nothing to start from is connected; load this room by `bottega.load` "
                               f"({self.config.target})")  # fmt: skip
        return self._parts["target"]

    @property
    def language(self) -> Language:
        """The tuned model as rooms see it that work on any language model: any decoder may write with it."""
        target = self.target
        return Language(model=self.student, tokens=target.tokens, template=target.template)
