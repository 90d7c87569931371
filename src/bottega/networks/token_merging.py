"""The vision transformer with merged tokens: fewer of them from layer to layer."""

from __future__ import annotations

import torch
from torch import Tensor

from bottega.layers import PreNormBlock, Tokens, attend, merge, merge_heads, split_heads
from bottega.networks.vit import Vit


def merged_vit(vit: Vit, picture: Tensor, count: int) -> Tokens:
    """What `Vit.forward` does, with `count` pairs of patches merged in every block.

    Between attention and the feed-forward layer the most similar patches become one, by the keys that attention made of
    them; attention then counts each by its size. The class token stays. With 0 it is the transformer itself.

    Args:
        vit: The transformer, as it was trained.
        picture: `(batch, 3, size, size)`.
        count: Pairs that are merged in every block, as long as there are enough.

    Returns:
        The normalised tokens, the class token first.

    Source: arXiv:2210.09461, sections 3 and 4.
    """
    tokens = Tokens.single(vit.embed(picture))
    for block in vit.blocks:
        tokens = _through(block, tokens, count)
    return Tokens(values=vit.norm_out(tokens.values), sizes=tokens.sizes, owners=tokens.owners)


def _through(block: torch.nn.Module, tokens: Tokens, count: int) -> Tokens:
    if not isinstance(block, PreNormBlock):
        raise TypeError(f"tokens are merged between the layers of a PreNormBlock, not of a {type(block).__name__}")
    inner = block.attention
    parts = inner.qkv(block.norm1(tokens.values)).chunk(3, dim=-1)
    q, k, v = (split_heads(part, inner.num_heads) for part in parts)
    bias = tokens.bias if tokens.values.shape[1] < tokens.owners.shape[1] else None
    seen = inner.proj(merge_heads(attend(q, k, v, mask=bias)))
    seen = Tokens(values=tokens.values + seen, sizes=tokens.sizes, owners=tokens.owners)
    merged = merge(seen, k.mean(1), count)
    values = merged.values + block.mlp(block.norm2(merged.values))
    return Tokens(values=values, sizes=merged.sizes, owners=merged.owners)


def merged_counts(tokens: int, count: int, depth: int) -> tuple[int, ...]:
    """How many tokens each block's attention and feed-forward layer work on: `depth + 1` numbers, the last one's left.

    Args:
        tokens: Tokens of a picture, the class token among them.
        count: Pairs that are merged in every block.
        depth: Blocks.
    """
    found = [tokens]
    for _ in range(depth):
        found.append(found[-1] - min(count, (found[-1] - 1) // 2))
    return tuple(found)
