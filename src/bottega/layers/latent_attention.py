"""Multi-head latent attention: keys and values of all heads are products of one small vector a token.

Source: arXiv:2405.04434, section 2.1 and appendix C.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bottega.layers.attention import attend, attend_grouped, merge_heads, split_heads
from bottega.layers.norm import RmsNorm
from bottega.layers.rotary import Rotary, RotaryLayout


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentConfig:
    """Size of one layer; the defaults are DeepSeek-V2's.

    Args:
        width: Channels of a token.
        heads: Heads.
        plain_dim: Channels of a head's queries and keys that know no position.
        rotary_dim: Channels that do; their key is shared by all heads.
        value_dim: Channels of a head's values.
        rank: Channels of the vector that keys and values are made of.
        query_rank: Channels of the vector that queries are made of; None makes them of the token itself.
        rope_base: Base of the rotary angles.
        eps: Epsilon of the normalisations.
    """

    width: int = 5120
    heads: int = 128
    plain_dim: int = 128
    rotary_dim: int = 64
    value_dim: int = 128
    rank: int = 512
    query_rank: int | None = 1536
    rope_base: float = 10_000.0
    eps: float = 1e-6

    @property
    def numbers_per_token(self) -> int:
        """What a layer remembers of a token."""
        return self.rank + self.rotary_dim


class LatentMemory:
    """What one layer remembers: the small vectors and the shared rotary keys, `(batch, 1, tokens, channels)` each."""

    def __init__(self) -> None:
        self.latents: Tensor | None = None
        self.keys: Tensor | None = None

    @property
    def length(self) -> int:
        """Tokens seen."""
        return 0 if self.latents is None else self.latents.shape[2]

    @property
    def bytes(self) -> int:
        """Memory of what is held."""
        held = (part for part in (self.latents, self.keys) if part is not None)
        return sum(part.numel() * part.element_size() for part in held)

    def extend(self, latents: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Appends new tokens and returns all of them."""
        if self.latents is not None and self.keys is not None:
            latents, keys = torch.cat((self.latents, latents), dim=2), torch.cat((self.keys, keys), dim=2)
        self.latents, self.keys = latents, keys
        return latents, keys


class LatentAttention(nn.Module):
    """The layer, in two forms that are equal: explicit keys and values, or their products absorbed by the queries."""

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.config = config
        query_dim = config.heads * (config.plain_dim + config.rotary_dim)
        if config.query_rank is None:
            self.query = nn.Linear(config.width, query_dim, bias=False)
        else:
            self.query = nn.Sequential(
                nn.Linear(config.width, config.query_rank, bias=False),
                RmsNorm(config.query_rank, config.eps),
                nn.Linear(config.query_rank, query_dim, bias=False),
            )
        self.down = nn.Linear(config.width, config.rank + config.rotary_dim, bias=False)
        self.norm = RmsNorm(config.rank, config.eps)
        self.up = nn.Linear(config.rank, config.heads * (config.plain_dim + config.value_dim), bias=False)
        self.proj = nn.Linear(config.heads * config.value_dim, config.width, bias=False)
        self.rotary = Rotary(config.rotary_dim, config.rope_base, RotaryLayout.PAIRS)

    def forward(self, x: Tensor, memory: LatentMemory | None = None, *, absorbed: bool = False) -> Tensor:
        """Causal attention.

        Args:
            x: Tokens `(batch, tokens, width)`; with a memory, those behind what it has seen.
            memory: What was seen before; it then also holds `x`.
            absorbed: Whether queries look at the small vectors themselves: fewer bytes to read for each new token.
                Otherwise every head's keys and values are made first: fewer products for many tokens at once.

        Returns:
            Of the same shape as `x`.
        """
        config, start = self.config, 0 if memory is None else memory.length
        q = split_heads(self.query(x), config.heads)
        plain, rotary = q.split((config.plain_dim, config.rotary_dim), dim=-1)
        latents, keys = self.down(x)[:, None].split((config.rank, config.rotary_dim), dim=-1)
        turns = self.rotary.turns(torch.arange(start, start + x.shape[1], device=x.device), x.dtype)
        latents, keys, rotary = self.norm(latents), turns.rotate(keys), turns.rotate(rotary)
        if memory is not None:
            latents, keys = memory.extend(latents, keys)
        places = torch.arange(latents.shape[2], device=x.device)
        mask = places <= places[start:, None]
        look = self._absorbed if absorbed else self._explicit
        return self.proj(merge_heads(look((plain, rotary), (latents, keys), mask)))

    def _explicit(self, queries: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        config, (latents, shared) = self.config, held
        made = split_heads(self.up(latents[:, 0]), config.heads)
        plain, values = made.split((config.plain_dim, config.value_dim), dim=-1)
        keys = torch.cat((plain, shared.expand(-1, config.heads, -1, -1)), dim=-1)
        return attend(torch.cat(queries, dim=-1), keys, values, mask=mask)

    def _absorbed(self, queries: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        config, (plain, rotary) = self.config, queries
        weights = self.up.weight.unflatten(0, (config.heads, -1))  # (heads, channels, rank)
        key_up, value_up = weights.split((config.plain_dim, config.value_dim), dim=1)
        q = torch.cat((plain @ key_up, rotary), dim=-1)
        scale = (config.plain_dim + config.rotary_dim) ** -0.5
        seen = attend_grouped(q, torch.cat(held, dim=-1), held[0], mask=mask, scale=scale)
        return seen @ value_up.transpose(1, 2)
