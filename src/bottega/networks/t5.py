"""T5's text encoder: a bidirectional transformer without biases, positions as a bias on the scores.

Source: Raffel et al., arXiv:1910.10683, section 2.1; version 1.1 with a gated feed-forward layer (arXiv:2002.05202).
Sizes from the published configurations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bottega.errors import WeightsError
from bottega.layers import Activation, activate, attend, merge_heads, split_heads
from bottega.weights import Drop, Fuse, KeyTable, Rename


@dataclass(frozen=True, kw_only=True, slots=True)
class T5EncoderConfig:
    """Size of a T5 encoder.

    Args:
        vocabulary: Number of token ids.
        width: Channels of a token.
        hidden: Hidden channels of the feed-forward layers.
        depth: Blocks.
        num_heads: Attention heads.
        head_dim: Channels of a head; heads times this need not be the width.
        gated: Version 1.1's gated GELU; False is version 1.0's ReLU.
        buckets: Relative distances that are told apart, both directions together.
        max_distance: Distances from here on share the last bucket.
        eps: Epsilon of the normalisations.
        pad_token: Id that fills a batch up; it is not looked at.
    """

    vocabulary: int = 32128
    width: int = 768
    hidden: int = 2048
    depth: int = 12
    num_heads: int = 12
    head_dim: int = 64
    gated: bool = True
    buckets: int = 32
    max_distance: int = 128
    eps: float = 1e-6
    pad_token: int = 0


class T5Attention(nn.Module):
    """Self-attention without biases and without scaling by the head's width."""

    def __init__(self, config: T5EncoderConfig) -> None:
        super().__init__()
        inner = config.num_heads * config.head_dim
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.width, 3 * inner, bias=False)
        self.proj = nn.Linear(inner, config.width, bias=False)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Tokens `(batch, tokens, width)` with `(batch or 1, heads, tokens, tokens)` added to the scores."""
        q, k, v = (split_heads(part, self.num_heads) for part in self.qkv(x).chunk(3, dim=-1))
        return self.proj(merge_heads(attend(q, k, v, mask=bias.to(q.dtype), scale=1.0)))


class T5FeedForward(nn.Module):
    """wo(relu(wi x)), or wo(gelu(wg x) * wi x), without biases."""

    def __init__(self, config: T5EncoderConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.width, config.hidden, bias=False) if config.gated else None
        self.wi = nn.Linear(config.width, config.hidden, bias=False)
        self.wo = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(..., width)` to `(..., width)`."""
        if self.gate is None:
            return self.wo(self.wi(x).relu())
        return self.wo(activate(self.gate(x), Activation.GELU_TANH) * self.wi(x))


class T5Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), normalised by root mean square."""

    def __init__(self, config: T5EncoderConfig) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(config.width, eps=config.eps)
        self.attention = T5Attention(config)
        self.norm2 = nn.RMSNorm(config.width, eps=config.eps)
        self.mlp = T5FeedForward(config)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Tokens `(batch, tokens, width)` to the same shape."""
        x = x + self.attention(self.norm1(x), bias)
        return x + self.mlp(self.norm2(x))


class T5Encoder(nn.Module):
    """The encoder."""

    def __init__(self, config: T5EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embed = nn.Embedding(config.vocabulary, config.width)
        self.distance_bias = nn.Embedding(config.buckets, config.num_heads)
        self.blocks = nn.ModuleList(T5Block(config) for _ in range(config.depth))
        self.norm = nn.RMSNorm(config.width, eps=config.eps)
        _initialise(self)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Reads texts.

        Args:
            tokens: Ids `(batch, tokens)`.
            mask: True where a token is part of the text `(batch, tokens)`; None where it is not the pad token.

        Returns:
            States `(batch, tokens, width)`, normalised; those of padding mean nothing.
        """
        seen = tokens != self.config.pad_token if mask is None else mask
        place = torch.arange(tokens.shape[1], device=tokens.device)
        buckets = distance_buckets(place[None] - place[:, None], self.config.buckets, self.config.max_distance)
        bias = self.distance_bias(buckets).permute(2, 0, 1)[None]
        bias = bias.masked_fill(~seen[:, None, None], torch.finfo(bias.dtype).min)
        x = self.token_embed(tokens)
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x)


def distance_buckets(distance: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Numbers of the buckets of relative distances (key's place less query's): one each for the nearest, then by log.

    The first half is for keys at or before the query, the second for keys after it. Source: arXiv:1910.10683, section
    2.1, in the published code's arithmetic.
    """
    half = buckets // 2
    exact = half // 2
    size = distance.abs()
    far = torch.log(size.clamp(min=1).float() / exact) / math.log(max_distance / exact) * (half - exact)
    within = torch.where(size < exact, size, (exact + far.long()).clamp(max=half - 1))
    return within + half * (distance > 0)


def _initialise(encoder: T5Encoder) -> None:
    """The published initialisation: weights shrink with their fan-in, queries also with the head's width."""
    config = encoder.config
    width, hidden, inner = config.width, config.hidden, config.num_heads * config.head_dim
    nn.init.normal_(encoder.token_embed.weight)
    nn.init.normal_(encoder.distance_bias.weight, std=width**-0.5)
    for part in encoder.modules():
        if isinstance(part, T5Attention):
            nn.init.normal_(part.qkv.weight, std=width**-0.5)
            nn.init.normal_(part.qkv.weight[:inner].detach(), std=(width * config.head_dim) ** -0.5)
            nn.init.normal_(part.proj.weight, std=inner**-0.5)
        if isinstance(part, T5FeedForward):
            nn.init.normal_(part.wi.weight, std=width**-0.5)
            nn.init.normal_(part.wo.weight, std=hidden**-0.5)
            if part.gate is not None:
                nn.init.normal_(part.gate.weight, std=width**-0.5)


def _sizes(width: int, hidden: int, depth: int, num_heads: int) -> T5EncoderConfig:
    return T5EncoderConfig(width=width, hidden=hidden, depth=depth, num_heads=num_heads)


T5_SIZES = {
    "t5-v1.1-small": _sizes(512, 1024, 8, 6),
    "t5-v1.1-base": _sizes(768, 2048, 12, 12),
    "t5-v1.1-large": _sizes(1024, 2816, 24, 16),
    "t5-v1.1-xl": _sizes(2048, 5120, 24, 32),
    "t5-v1.1-xxl": _sizes(4096, 10240, 24, 64),
    "t5-large": T5EncoderConfig(width=1024, hidden=4096, depth=24, num_heads=16, gated=False),
}
"""Encoders by the names of google's published weights; Imagen and eDiff-I read with the XXL one."""

_BLOCK = "encoder.block.{i}.layer"


def t5_encoder_keys(config: T5EncoderConfig) -> KeyTable:
    """Transformers' T5EncoderModel, or the encoder of its whole T5."""
    feed = (("gate", "wi_0"), ("wi", "wi_1"), ("wo", "wo")) if config.gated else (("wi", "wi"), ("wo", "wo"))
    return (
        Rename("token_embed.weight", "shared.weight"),
        Rename("distance_bias.weight", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"),
        Fuse("blocks.{i}.attention.qkv.weight", tuple(f"{_BLOCK}.0.SelfAttention.{part}.weight" for part in "qkv")),
        Rename("blocks.{i}.attention.proj.weight", f"{_BLOCK}.0.SelfAttention.o.weight"),
        Rename("blocks.{i}.norm1.weight", f"{_BLOCK}.0.layer_norm.weight"),
        *(Rename(f"blocks.{{i}}.mlp.{a}.weight", f"{_BLOCK}.1.DenseReluDense.{b}.weight") for a, b in feed),
        Rename("blocks.{i}.norm2.weight", f"{_BLOCK}.1.layer_norm.weight"),
        Rename("norm.weight", "encoder.final_layer_norm.weight"),
        Drop("encoder.embed_tokens.weight", "tied to `shared`", optional=True),
        Drop("decoder.{rest}", "of the decoder, which an encoder has not", optional=True),
        Drop("lm_head.weight", "of the decoder, which an encoder has not", optional=True),
    )


def t5_encoder_config(theirs: Mapping[str, Any]) -> T5EncoderConfig:
    """Our configuration for transformers' `config.json`.

    Raises:
        WeightsError: A feed-forward layer that no published T5 has.
    """
    feed = theirs.get("feed_forward_proj", "relu")
    if feed not in ("relu", "gated-gelu"):
        raise WeightsError(f"feed_forward_proj is {feed!r}, but only relu and gated-gelu are known here")
    return T5EncoderConfig(
        vocabulary=theirs["vocab_size"],
        width=theirs["d_model"],
        hidden=theirs["d_ff"],
        depth=theirs["num_layers"],
        num_heads=theirs["num_heads"],
        head_dim=theirs["d_kv"],
        gated=feed == "gated-gelu",
        buckets=theirs["relative_attention_num_buckets"],
        max_distance=theirs.get("relative_attention_max_distance", 128),
        eps=theirs["layer_norm_epsilon"],
        pad_token=theirs.get("pad_token_id", 0),
    )


def t5_encoder_json(config: T5EncoderConfig) -> dict[str, Any]:
    """Transformers' `config.json` for our configuration."""
    return {
        "architectures": ["T5EncoderModel"],
        "d_ff": config.hidden,
        "d_kv": config.head_dim,
        "d_model": config.width,
        "dropout_rate": 0.1,
        "eos_token_id": 1,
        "feed_forward_proj": "gated-gelu" if config.gated else "relu",
        "layer_norm_epsilon": config.eps,
        "model_type": "t5",
        "num_heads": config.num_heads,
        "num_layers": config.depth,
        "pad_token_id": config.pad_token,
        "relative_attention_max_distance": config.max_distance,
        "relative_attention_num_buckets": config.buckets,
        "vocab_size": config.vocabulary,
    }
