"""A random tiny decoder with a small trained tokenizer, and a decoder that makes its passes only when it may."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from bottega.layers import FullMemory, Memory
from bottega.networks import Llama, LlamaConfig
from bottega.processes.decoding import Language
from bottega.tokenizers import LanguageTokenizer

TEXTS = ("one two three four five six seven", "the cat sat on the mat, and the dog sat by the door", "größer 🍓 naïve")


def tiny_language(context: int = 96) -> Language:
    tokens = LanguageTokenizer.trained(TEXTS * 3, 320)
    config = LlamaConfig(
        vocabulary=tokens.vocabulary, context=context, width=32, depth=2, num_heads=4, num_kv_heads=2, hidden=48
    )
    torch.manual_seed(1)
    model = Llama(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.3)
    return Language(model=model, tokens=tokens)


class Watched:
    """A decoder whose passes are counted; with a gate, each waits for a permit; `broken` makes every pass fail."""

    def __init__(self, model: Llama, *, gated: bool = False) -> None:
        self.model, self.broken = model, False
        self.passes: list[tuple[int, int]] = []
        self.permits = threading.Semaphore(0) if gated else None

    @property
    def vocabulary(self) -> int:
        return self.model.vocabulary

    @property
    def context(self) -> int:
        return self.model.context

    def __call__(self, tokens: Tensor, memory: Memory | None = None, *, at: Tensor | None = None) -> Tensor:
        if self.permits is not None:
            self.permits.acquire()
        self.passes.append((tokens.shape[0], tokens.shape[1]))
        if self.broken:
            raise FloatingPointError("broken on purpose")
        return self.model(tokens, memory, at=at)

    def new_memory(self, batch: int, capacity: int | None = None) -> FullMemory:
        return self.model.new_memory(batch, capacity)
