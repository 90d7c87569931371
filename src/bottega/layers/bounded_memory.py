"""Memories of a decoder that hold a bounded number of tokens, however long the text grows.

`StreamingMemory` keeps the first tokens and the last ones; `HeavyHitterMemory` the last ones and those that were looked
at most. Both see the same whether a text comes token by token or in pieces. What they forgot does not come back.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.layers.attention import attend_grouped
from bottega.layers.rotary import Rotary, Turns


class StreamingMemory:
    """The first tokens ("sinks") and a window of the last ones; positions are places in this memory.

    A token sees at most `budget` tokens, itself among them: every sink and the window that ends with it. Because
    positions are counted inside the memory, none is larger than those that the model was trained with.

    Args:
        layers: Layers of the decoder.
        batch: Rows, all of one length.
        budget: Most tokens that are held.
        sinks: How many first tokens are kept; 0 leaves a sliding window.

    Raises:
        RequestError: No room for a window.

    Source: arXiv:2309.17453, section 3.2.
    """

    def __init__(self, *, layers: int, batch: int, budget: int, sinks: int = 4) -> None:
        if not 0 <= sinks < budget:
            raise RequestError.of("sinks", sinks, f"0 to {budget - 1}, below the budget of {budget} tokens")
        self.budget, self.sinks = budget, sinks
        self.keys: list[Tensor | None] = [None] * layers
        self.values: list[Tensor | None] = [None] * layers
        self._batch, self._seen, self._count, self._kept = batch, 0, 0, 0
        self._turns: tuple[Turns, Turns, Turns] | None = None
        self._mask: Tensor | None = None

    @property
    def lengths(self) -> list[int]:
        """Tokens seen by each row, those that were forgotten too."""
        return [self._seen] * self._batch

    @property
    def bytes(self) -> int:
        """Memory of the keys and values that are held."""
        held = (part for part in (*self.keys, *self.values) if part is not None)
        return sum(part.numel() * part.element_size() for part in held)

    def begin(self, count: int, rotary: Rotary) -> None:
        """Makes room for the first of `count` further tokens, and says what each of them sees."""
        self._count, self._kept = count, min(self._seen, self.budget - 1)
        keys = torch.arange(self._kept + count)
        queries = keys[self._kept :]
        near = queries.clamp(max=self.budget - 1)  # how far a query stands from the sinks
        self._turns = rotary.turns(keys), rotary.turns(queries), rotary.turns(near)
        seen = (keys < self.sinks) | (queries[:, None] - keys < self.budget - self.sinks)
        self._mask = seen & (keys <= queries[:, None])

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Remembers the new keys and values and attends over what each query sees. See `Memory.attend`."""
        if self._turns is None or self._mask is None:
            raise ValueError("begin comes before attend")
        keys, values = self._grown(self.keys[layer], k), self._grown(self.values[layer], v)
        self.keys[layer], self.values[layer] = self._cut(keys, self.budget), self._cut(values, self.budget)
        placed, far, near = (_like(turns, q) for turns in self._turns)
        mask, turned = self._mask.to(q.device), placed.rotate(keys)
        if keys.shape[2] <= self.budget:
            return attend_grouped(far.rotate(q), turned, values, mask=mask)
        first = (torch.arange(keys.shape[2], device=q.device) < self.sinks)[:, None]
        # a query turns otherwise for sinks than for the window: twice the channels, of which each key uses its half
        doubled = torch.cat((turned * first, turned * ~first), dim=-1)
        queries = torch.cat((near.rotate(q), far.rotate(q)), dim=-1)
        return attend_grouped(queries, doubled, values, mask=mask, scale=q.shape[-1] ** -0.5)

    def finish(self) -> None:
        """Counts the new tokens as seen."""
        self._seen += self._count

    def _grown(self, held: Tensor | None, new: Tensor) -> Tensor:
        return new if held is None else torch.cat((self._cut(held, self._kept), new), dim=2)

    def _cut(self, held: Tensor, most: int) -> Tensor:
        """The sinks and the last tokens, `most` in all."""
        if held.shape[2] <= most:
            return held
        last = held.shape[2] - (most - self.sinks)
        return torch.cat((held[:, :, : self.sinks], held[:, :, last:]), dim=2)


class HeavyHitterMemory:
    """The last tokens, and of the others those that attention went to most, chosen for every key head by itself.

    A token sees at most `budget` tokens, itself among them. When there is no room for it, the one among the older
    tokens leaves that received the least attention from all queries since it came.

    Args:
        layers: Layers of the decoder.
        batch: Rows, all of one length.
        kv_heads: Key and value heads of a layer.
        head_dim: Channels of a head.
        budget: Most tokens that are held.
        recent: How many last tokens are never forgotten, the new one among them.
        dtype: Of keys and values.
        device: Where they are.

    Raises:
        RequestError: A budget below 1, or more recent tokens than it.

    Source: arXiv:2306.14048, algorithm 1 (with the sums of attention of its published code).
    """

    def __init__(
        self, *, layers: int, batch: int, kv_heads: int, head_dim: int, budget: int, recent: int,
        dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        if budget < 1:
            raise RequestError.of("budget", budget, "at least 1 token")
        if not 1 <= recent <= budget:
            raise RequestError.of("recent", recent, f"1 to {budget}, the budget")
        self.budget, self.recent = budget, recent
        places = (layers, batch, kv_heads, budget)
        self.keys = torch.zeros(*places, head_dim, dtype=dtype, device=device)
        self.values = torch.zeros_like(self.keys)
        self.attention = torch.zeros(places, device=device)
        """How much attention each held token received, summed over queries and the heads of a group."""
        self.positions = torch.full(places, -1, device=device)
        """The position of each held token in the text; -1 where there is none yet."""
        self._seen, self._count = 0, 0
        self._turns: Turns | None = None

    @property
    def lengths(self) -> list[int]:
        """Tokens seen by each row, those that were forgotten too."""
        return [self._seen] * self.keys.shape[1]

    @property
    def bytes(self) -> int:
        """Memory of keys, values and what is noted about them."""
        parts = (self.keys, self.values, self.attention, self.positions)
        return sum(part.numel() * part.element_size() for part in parts)

    def begin(self, count: int, rotary: Rotary) -> None:
        """Prepares for `count` further tokens in every row."""
        self._count = count
        positions = torch.arange(self._seen, self._seen + count, device=self.keys.device)
        self._turns = rotary.turns(positions, self.keys.dtype)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Remembers the new keys and values and attends over what is held at each. See `Memory.attend`."""
        if self._turns is None:
            raise ValueError("begin comes before attend")
        q, k = self._turns.rotate(q), self._turns.rotate(k)
        room = min(max(self.budget - self._seen, 0), self._count)
        made = []
        if room:
            places = torch.arange(self._seen, self._seen + room, device=q.device).expand(*k.shape[:2], room)
            made.append(self._see(layer, q[:, :, :room], (k[:, :, :room], v[:, :, :room]), places, self._seen))
        for new in range(room, self._count):
            here, position = slice(new, new + 1), self._seen + new
            places = self._least(layer, position)
            made.append(self._see(layer, q[:, :, here], (k[:, :, here], v[:, :, here]), places, position))
        return torch.cat(made, dim=2)

    def finish(self) -> None:
        """Counts the new tokens as seen."""
        self._seen += self._count

    def _least(self, layer: int, position: int) -> Tensor:
        """The place of each head that a new token takes, `(batch, kv_heads, 1)`."""
        kept = self.positions[layer] > position - self.recent
        return self.attention[layer].masked_fill(kept, torch.inf).argmin(-1, keepdim=True)

    def _see(self, layer: int, q: Tensor, new: tuple[Tensor, Tensor], places: Tensor, first: int) -> Tensor:
        """Puts new tokens, the first of which has position `first`, into their places, and lets them look."""
        keys, values = self.keys[layer], self.values[layer]
        count, held = q.shape[2], min(first + q.shape[2], self.budget)
        where = places[..., None].expand(-1, -1, -1, keys.shape[-1])
        keys.scatter_(2, where, new[0].to(keys.dtype))
        values.scatter_(2, where, new[1].to(values.dtype))
        self.attention[layer].scatter_(2, places, 0.0)
        positions = torch.arange(first, first + count, device=q.device)
        self.positions[layer].scatter_(2, places, positions.expand_as(places))
        rows = q.unflatten(1, (keys.shape[1], -1))  # (batch, kv_heads, group, count, head_dim)
        scores = rows @ keys[:, :, None, :held].transpose(-2, -1) * q.shape[-1] ** -0.5
        if count > 1:  # the places are in order of position then
            later = torch.arange(held, device=q.device) > positions[:, None]
            scores = scores.masked_fill(later, -torch.inf)
        shares = scores.float().softmax(-1)
        self.attention[layer][..., :held] += shares.detach().sum((2, 3))
        return (shares.to(values.dtype) @ values[:, :, None, :held]).flatten(1, 2)


def _like(turns: Turns, x: Tensor) -> Turns:
    return Turns(turns.cos.to(x), turns.sin.to(x), turns.layout)
