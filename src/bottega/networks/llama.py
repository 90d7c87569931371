"""LLaMA: the causal decoder with RMSNorm before each layer, rotary positions, SwiGLU and grouped queries.

Source: arXiv:2302.13971, section 2.2; arXiv:2307.09288, section 2.2 (grouped queries).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.errors import RequestError
from bottega.layers import (
    FullMemory,
    GatedMlp,
    Memory,
    RmsNorm,
    Rotary,
    Turns,
    attend_grouped,
    merge_heads,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LlamaConfig:
    """Size of a decoder.

    Args:
        vocabulary: Number of token ids.
        context: Longest sequence, in tokens.
        width: Channels of a token.
        depth: Blocks.
        num_heads: Query heads; divides `width`.
        num_kv_heads: Key and value heads; divides `num_heads`.
        hidden: Channels of the gated feed-forward layer.
        rope_base: Base of the rotary angles.
        eps: Epsilon of the normalisations.
        tied: Whether the table of embeddings is the output head too.
    """

    vocabulary: int = 32000
    context: int = 2048
    width: int = 4096
    depth: int = 32
    num_heads: int = 32
    num_kv_heads: int = 32
    hidden: int = 11008
    rope_base: float = 10_000.0
    eps: float = 1e-5
    tied: bool = False

    def __post_init__(self) -> None:
        if self.width % (2 * self.num_heads):
            raise RequestError.of("width", self.width, f"a multiple of 2 x {self.num_heads} heads")
        if self.num_heads % self.num_kv_heads:
            raise RequestError.of("num_kv_heads", self.num_kv_heads, f"a divisor of the {self.num_heads} query heads")

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.width // self.num_heads


class LlamaAttention(nn.Module):
    """Grouped-query self-attention with rotary positions and one product for queries, keys and values."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.num_heads, config.num_kv_heads
        self.qkv = nn.Linear(config.width, (self.heads + 2 * self.kv_heads) * config.head_dim, bias=False)
        self.proj = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, seen: Turns | Memory, layer: int) -> Tensor:
        """Tokens `(batch, tokens, width)` to the same shape.

        Args:
            x: The tokens.
            seen: What was seen before; or, when nothing was, the turns at the tokens' positions.
            layer: Which layer this is in the memory.
        """
        total = self.heads + 2 * self.kv_heads
        heads = self.qkv(x).unflatten(-1, (total, -1)).transpose(1, 2)
        q, k, v = heads.split((self.heads, self.kv_heads, self.kv_heads), dim=1)
        if isinstance(seen, Turns):
            return self.proj(merge_heads(attend_grouped(seen.rotate(q), seen.rotate(k), v, causal=True)))
        return self.proj(merge_heads(seen.attend(layer, q, k, v)))


class LlamaBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        config: Its size.
        mlp: The feed-forward layer; None makes the gated one of the configuration.
    """

    def __init__(self, config: LlamaConfig, mlp: nn.Module | None = None) -> None:
        super().__init__()
        self.norm1 = RmsNorm(config.width, config.eps)
        self.attention = LlamaAttention(config)
        self.norm2 = RmsNorm(config.width, config.eps)
        self.mlp = GatedMlp(config.width, config.hidden) if mlp is None else mlp

    def forward(self, x: Tensor, seen: Turns | Memory, layer: int) -> Tensor:
        """Tokens `(batch, tokens, width)` to the same shape; see `LlamaAttention`."""
        x = x + self.attention(self.norm1(x), seen, layer)
        return x + self.mlp(self.norm2(x))


class Llama(nn.Module):
    """The decoder: token ids to the logits of the next tokens.

    Args:
        config: Its size.
        mlp: Makes the feed-forward layer of a block (a mixture of experts, say); None has gated ones.
    """

    def __init__(self, config: LlamaConfig, mlp: Callable[[], nn.Module] | None = None) -> None:
        super().__init__()
        self.config = config
        self.rotary = Rotary(config.head_dim, config.rope_base)
        self.token_embed = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(LlamaBlock(config, None if mlp is None else mlp()) for _ in range(config.depth))
        self.norm = RmsNorm(config.width, config.eps)
        self.head = None if config.tied else nn.Linear(config.width, config.vocabulary, bias=False)
        self.apply(_initialise)

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self.config.vocabulary

    @property
    def context(self) -> int:
        """Longest sequence, in tokens."""
        return self.config.context

    def forward(self, tokens: Tensor, memory: Memory | None = None, *, at: Tensor | None = None) -> Tensor:
        """Next-token logits.

        Args:
            tokens: Ids `(batch, tokens)`; with a memory, those behind what it has seen.
            memory: What was seen before (`new_memory`); it then also holds `tokens`.
            at: Places `(batch, k)` in `tokens` whose logits are wanted; None wants all.

        Returns:
            `(batch, tokens or k, vocabulary)`.
        """
        states = self.states(self.token_embed(tokens), memory)
        if at is not None:
            states = states.gather(1, at[..., None].expand(-1, -1, states.shape[-1]))
        return F.linear(states, self.token_embed.weight) if self.head is None else self.head(states)

    def states(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """Embeddings `(batch, tokens, width)` to the normalised states that the head reads, of the same shape."""
        if memory is None:
            seen = self.rotary.turns(torch.arange(x.shape[1], device=x.device), x.dtype)
        else:
            memory.begin(x.shape[1], self.rotary)
            seen = memory
        for layer, block in enumerate(self.blocks):
            x = block(x, seen, layer)
        if memory is not None:
            memory.finish()
        return self.norm(x)

    def new_memory(self, batch: int, capacity: int | None = None) -> FullMemory:
        """An empty memory for rows of up to `capacity` tokens (None: the context), in the type of the weights."""
        weight = self.token_embed.weight
        return FullMemory(
            layers=self.config.depth, batch=batch, kv_heads=self.config.num_kv_heads, head_dim=self.config.head_dim,
            capacity=self.config.context if capacity is None else capacity, dtype=weight.dtype, device=weight.device,
        )  # fmt: skip


def _initialise(part: nn.Module) -> None:
    if isinstance(part, nn.Linear | nn.Embedding):
        nn.init.normal_(part.weight, std=0.02)
