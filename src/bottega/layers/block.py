"""Transformer blocks."""

from __future__ import annotations

from torch import Tensor, nn

from bottega.layers.attention import KeyValueCache, SelfAttention
from bottega.layers.mlp import Activation, Mlp


class PreNormBlock(nn.Module):
    """The pre-normalised transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        width: Channels of the tokens.
        num_heads: Attention heads.
        mlp_ratio: Hidden channels of the MLP as a multiple of `width`.
        qkv_bias: Whether queries, keys and values have a bias.
        causal: Whether attention is causal.
        activation: The MLP's nonlinearity.
        eps: Epsilon of the normalisations.

    Source: arXiv:2002.04745, figure 1b.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        causal: bool = False,
        activation: Activation = Activation.GELU,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attention = SelfAttention(width, num_heads, qkv_bias=qkv_bias, causal=causal)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, int(width * mlp_ratio), activation)

    def forward(self, x: Tensor, mask: Tensor | None = None, cache: KeyValueCache | None = None) -> Tensor:
        """Tokens `(batch, tokens, width)` to the same shape."""
        x = x + self.attention(self.norm1(x), mask, cache)
        return x + self.mlp(self.norm2(x))


class PostNormBlock(nn.Module):
    """The post-normalised transformer block: norm(x + attention(x)), then norm(x + mlp(x)).

    Args:
        width: Channels of the tokens.
        num_heads: Attention heads.
        mlp_ratio: Hidden channels of the MLP as a multiple of `width`.
        qkv_bias: Whether queries, keys and values have a bias.

    Source: arXiv:1706.03762; UniDiffuser (arXiv:2303.06555, section 4) uses it for stable mixed-precision training.
    """

    def __init__(self, width: int, num_heads: int, *, mlp_ratio: float = 4.0, qkv_bias: bool = False) -> None:
        super().__init__()
        self.attention = SelfAttention(width, num_heads, qkv_bias=qkv_bias)
        self.norm1 = nn.LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(batch, tokens, width)` to the same shape."""
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.mlp(x))
