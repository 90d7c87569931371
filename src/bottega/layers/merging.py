"""Token merging (ToMe): in each layer the most similar tokens of a picture become one.

Source: arXiv:2210.09461, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tokens:
    """Tokens, each of which may stand for several.

    Args:
        values: `(batch, tokens, channels)`.
        sizes: How many original tokens each stands for, `(batch, tokens)`.
        owners: Which token each original one went into, `(batch, original tokens)`.
    """

    values: Tensor
    sizes: Tensor
    owners: Tensor

    @classmethod
    def single(cls, values: Tensor) -> Tokens:
        """Tokens that stand for themselves."""
        owners = torch.arange(values.shape[1], device=values.device).expand(values.shape[:2])
        return cls(values=values, sizes=torch.ones(values.shape[:2], device=values.device), owners=owners)

    @property
    def bias(self) -> Tensor:
        """What makes a token count as often as it stands for, on attention's scores: `(batch, 1, 1, tokens)`.

        Source: arXiv:2210.09461, equation 1 ("proportional attention").
        """
        return self.sizes.log()[:, None, None].to(self.values.dtype)


def merge(tokens: Tokens, likeness: Tensor, count: int, *, protected: int = 1) -> Tokens:
    """Merges the `count` most similar pairs: bipartite soft matching.

    Every other token looks for the most similar one among those in between; the best pairs become their means, weighted
    by sizes. The first half's leftover comes first in the result, then the second half.

    Args:
        tokens: The tokens.
        likeness: What similarity is the cosine of, `(batch, tokens, channels)`: keys of attention, say.
        count: Pairs to merge; at most half of the tokens behind the protected ones are.
        protected: How many first tokens (a class token) are never merged: 0 or 1.

    Returns:
        `count` tokens fewer.

    Source: arXiv:2210.09461, section 3 and appendix D.
    """
    count = min(count, (tokens.values.shape[1] - protected) // 2)
    if count <= 0:
        return tokens
    directions = F.normalize(likeness.float(), dim=-1)
    scores = directions[:, ::2] @ directions[:, 1::2].transpose(1, 2)
    if protected:
        scores[:, 0] = -torch.inf
    best, partners = scores.max(-1)
    order = best.argsort(dim=-1, descending=True, stable=True)
    gone, stays = order[:, :count], order[:, count:].sort(-1).values
    targets = partners.gather(1, gone)

    weighted = torch.cat((tokens.values * tokens.sizes[..., None].to(tokens.values), tokens.sizes[..., None]), dim=-1)
    ones, twos = weighted[:, ::2], weighted[:, 1::2]
    wide = weighted.shape[-1]
    twos = twos.scatter_add(1, _wide(targets, wide), ones.gather(1, _wide(gone, wide)))
    sums = torch.cat((ones.gather(1, _wide(stays, wide)), twos), dim=1)
    values = (sums[..., :-1] / sums[..., -1:]).to(tokens.values.dtype)

    left = stays.shape[1]
    firsts = torch.empty_like(order).scatter_(1, stays, torch.arange(left, device=order.device).expand_as(stays))
    firsts.scatter_(1, gone, targets + left)
    moved = order.new_empty(weighted.shape[:2])  # where each token of before is now
    moved[:, ::2] = firsts
    moved[:, 1::2] = left + torch.arange(twos.shape[1], device=order.device)
    return Tokens(values=values, sizes=sums[..., -1].float(), owners=moved.gather(1, tokens.owners))


def _wide(index: Tensor, channels: int) -> Tensor:
    return index[..., None].expand(-1, -1, channels)
