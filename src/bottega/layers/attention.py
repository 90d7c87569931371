"""Attention. `attend` is the only place in bottega that calls scaled dot-product attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, causal: bool = False, scale: float | None = None
) -> Tensor:
    """Softmax attention of queries over keys.

    Args:
        q: Queries `(..., heads, queries, head_dim)`.
        k: Keys `(..., heads, keys, head_dim)`.
        v: Values `(..., heads, keys, value_dim)`.
        mask: Boolean `(..., queries, keys)`, True where a query may look, or an additive float bias.
        causal: Whether query i sees keys up to i only. Not together with `mask`.
        scale: Factor on the scores; None means `head_dim ** -0.5`.

    Returns:
        `(..., heads, queries, value_dim)`.

    Raises:
        ValueError: If both `mask` and `causal` are given.
    """
    if causal and mask is not None:
        raise ValueError("attend takes a mask or causal=True, not both; put the causal part into the mask")
    if q.dtype is torch.bfloat16 and q.device.type == "cpu" and q.shape[-2] > FEW_QUERIES:
        return _attend_by_rows(q, k, v, mask=mask, causal=causal, scale=scale)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=scale)


FEW_QUERIES = 32
"""Up to so many queries (a decoder's next tokens) torch's fused kernel is the faster one in bfloat16 on a CPU too."""

ROW_BLOCK_BYTES = 64 << 20
"""Most bytes of attention scores that are held at once on a CPU."""


def _attend_by_rows(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None, causal: bool, scale: float | None
) -> Tensor:
    """The same attention as plain matrix products over blocks of queries.

    On a CPU in bfloat16 torch's fused kernel is no faster forward and three to five times slower backward than this.
    """
    queries, keys = q.shape[-2], k.shape[-2]
    q = q * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        mask = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril()
    per_query = q[..., 0, 0].numel() * keys * q.element_size()
    rows = max(1, ROW_BLOCK_BYTES // per_query)
    blocks = []
    for start in range(0, queries, rows):
        scores = q[..., start : start + rows, :] @ k.transpose(-2, -1)
        if mask is not None:
            part = mask[..., start : start + rows, :]
            scores = scores.masked_fill(~part, -torch.inf) if part.dtype is torch.bool else scores + part
        blocks.append(scores.softmax(-1).to(v.dtype) @ v)
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=-2)


def attend_grouped(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, causal: bool = False, scale: float | None = None
) -> Tensor:
    """Attention in which several query heads share one key and value head.

    Args:
        q: `(batch, heads, queries, head_dim)`; heads `i * group ... (i + 1) * group - 1` look at key head i.
        k: `(batch, kv_heads, keys, head_dim)`; `kv_heads` divides `heads`.
        v: `(batch, kv_heads, keys, value_dim)`.
        mask: As in `attend`, `(queries, keys)` or `(batch, 1, queries, keys)`.
        causal: As in `attend`.
        scale: As in `attend`.

    Returns:
        `(batch, heads, queries, value_dim)`.

    Source: arXiv:2305.13245, section 2.2.
    """
    group = q.shape[1] // k.shape[1]
    if group == 1:
        return attend(q, k, v, mask=mask, causal=causal, scale=scale)
    if causal:
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        return attend(q, k, v, causal=True, scale=scale)
    rows = q.unflatten(1, (-1, group)).flatten(2, 3)  # the queries of a group are rows over the same keys
    wide = None if mask is None else mask.repeat(*(1,) * (mask.ndim - 2), group, 1)
    return attend(rows, k, v, mask=wide, scale=scale).unflatten(2, (group, -1)).flatten(1, 2)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """`(batch, tokens, heads * head_dim)` to `(batch, heads, tokens, head_dim)`."""
    return x.unflatten(-1, (num_heads, -1)).transpose(-2, -3)


def merge_heads(x: Tensor) -> Tensor:
    """`(batch, heads, tokens, head_dim)` to `(batch, tokens, heads * head_dim)`."""
    return x.transpose(-2, -3).flatten(-2)


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused query-key-value projection.

    Args:
        width: Channels of the tokens.
        num_heads: Heads; must divide `width`.
        qkv_bias: Whether queries, keys and values have a bias.
        causal: Whether a token sees only itself and the tokens before it.
    """

    def __init__(self, width: int, num_heads: int, *, qkv_bias: bool = True, causal: bool = False) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"width {width} must be a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.causal = causal
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None, cache: KeyValueCache | None = None) -> Tensor:
        """Tokens `(batch, tokens, width)` to the same shape; `cache` appends these tokens to those seen before."""
        q, k, v = (split_heads(part, self.num_heads) for part in self.qkv(x).chunk(3, dim=-1))
        if cache is not None:
            k, v = cache.extend(k, v)
        causal = self.causal and mask is None and q.shape[-2] == k.shape[-2]
        return self.proj(merge_heads(attend(q, k, v, mask=mask, causal=causal)))


class KeyValueCache:
    """Keys and values of the tokens that one attention layer has seen, `(batch, heads, tokens, head_dim)` each.

    A causal layer with a cache may be fed one token at a time after the first call; then no mask is needed.
    """

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Appends new keys and values and returns all of them. Only the first call may hold several tokens."""
        if self.keys is None or self.values is None:
            self.keys, self.values = k, v
            return k, v
        if k.shape[-2] != 1:
            raise ValueError(f"a filled cache takes one token at a time, not {k.shape[-2]}")
        self.keys = torch.cat((self.keys, k), dim=-2)
        self.values = torch.cat((self.values, v), dim=-2)
        return self.keys, self.values

    def reorder(self, rows: Tensor) -> None:
        """Keeps the given batch rows, in that order: what a beam search does when its beams change places."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]
