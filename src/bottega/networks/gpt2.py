"""GPT-2: a causal decoder with learned positions and tied output weights.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019; sizes as published.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bottega.layers import Activation, KeyValueCache, PreNormBlock


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpt2Config:
    """Size of a decoder.

    Args:
        vocabulary: Number of token ids.
        context: Longest sequence, in tokens.
        width: Channels of a token.
        depth: Blocks.
        num_heads: Attention heads.
    """

    vocabulary: int = 50257
    context: int = 1024
    width: int = 768
    depth: int = 12
    num_heads: int = 12


class Gpt2(nn.Module):
    """The decoder. It takes embeddings rather than ids, so that a prefix may come from elsewhere."""

    def __init__(self, config: Gpt2Config) -> None:
        super().__init__()
        self.config = config
        self.token_embed = nn.Embedding(config.vocabulary, config.width)
        self.pos_embed = nn.Parameter(torch.empty(config.context, config.width))
        self.blocks = nn.ModuleList(
            PreNormBlock(config.width, config.num_heads, causal=True, activation=Activation.GELU_TANH)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.token_embed.weight, std=0.02)
        nn.init.normal_(self.pos_embed, std=0.01)

    def forward(self, embeddings: Tensor, cache: list[KeyValueCache] | None = None) -> Tensor:
        """Embeddings `(batch, tokens, width)` to next-token logits `(batch, tokens, vocabulary)`.

        Args:
            embeddings: Embedded tokens or prefix vectors, without positions.
            cache: One cache a block (`new_cache`). With it, the first call takes the prefix and each further call
                the next token only.
        """
        seen = 0 if cache is None or cache[0].keys is None else cache[0].keys.shape[-2]
        x = embeddings + self.pos_embed[seen : seen + embeddings.shape[1]]
        for index, block in enumerate(self.blocks):
            x = block(x, None, None if cache is None else cache[index])
        return self.norm(x) @ self.token_embed.weight.T

    def new_cache(self) -> list[KeyValueCache]:
        """An empty cache for every block."""
        return [KeyValueCache() for _ in self.blocks]
