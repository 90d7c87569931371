"""What a causal decoder remembers of the tokens that it has seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.layers.attention import attend_grouped
from bottega.layers.rotary import Rotary, Turns


class Memory(Protocol):
    """The keys and values of a decoder's layers, under any policy of what is kept.

    A forward pass calls `begin` once, `attend` once a layer, and `finish` once.
    """

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens seen by each row."""
        ...

    def begin(self, count: int, rotary: Rotary) -> None:
        """Prepares for `count` further tokens in every row."""
        ...

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Remembers the new keys and values of a layer, and lets the new queries look at what may be seen.

        Args:
            layer: Which layer, from 0.
            q: Queries before rotation, `(batch, heads, count, head_dim)`.
            k: Keys before rotation, `(batch, kv_heads, count, head_dim)`.
            v: Values `(batch, kv_heads, count, head_dim)`.

        Returns:
            `(batch, heads, count, head_dim)`.
        """
        ...

    def finish(self) -> None:
        """Counts the new tokens as seen."""
        ...


class FullMemory:
    """Remembers everything, in buffers that are made once.

    Rows may have different lengths: each row's tokens lie from index 0 on, and its next token goes behind them. A batch
    of prompts is padded on the right, and `crop` then says how long each row really is. To forget the tail costs
    nothing.

    Args:
        layers: Layers of the decoder.
        batch: Rows.
        kv_heads: Key and value heads of a layer.
        head_dim: Channels of a head.
        capacity: Most tokens of a row.
        dtype: Of keys and values.
        device: Where they are.
    """

    def __init__(
        self, *, layers: int, batch: int, kv_heads: int, head_dim: int, capacity: int,
        dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        shape = (layers, batch, kv_heads, capacity, head_dim)
        # zeros: what is masked is still multiplied by 0, and numbers that nobody set may be NaN
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self._lengths = [0] * batch
        self._count = 0
        self._span = 0
        self._at: tuple[Tensor, Tensor] | None = None
        self._mask: Tensor | None = None
        self._turns: Turns | None = None

    @property
    def lengths(self) -> list[int]:
        """Tokens seen by each row; change it by `crop`."""
        return list(self._lengths)

    @property
    def capacity(self) -> int:
        """Most tokens of a row."""
        return self.keys.shape[3]

    @property
    def bytes(self) -> int:
        """Memory of the buffers."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def begin(self, count: int, rotary: Rotary) -> None:
        """Prepares for `count` further tokens in every row.

        Raises:
            RequestError: A row would become longer than the capacity.
        """
        self._turns = rotary.turns(self._reserve(count), self.keys.dtype)

    def _reserve(self, count: int) -> Tensor:
        """Prepares for `count` further tokens in every row, but for their turns; returns their positions."""
        longest, device = max(self._lengths) + count, self.keys.device
        if longest > self.capacity:
            raise RequestError.of("tokens", longest, f"at most {self.capacity}, the room in this memory")
        self._count, self._span, self._mask, self._at = count, longest, None, None
        if min(self._lengths) == max(self._lengths):
            positions = torch.arange(longest - count, longest, device=device)
            if 1 < count < longest:
                self._mask = torch.arange(longest, device=device) <= positions[:, None]
        else:
            positions = torch.tensor(self._lengths, device=device)[:, None, None] + torch.arange(count, device=device)
            self._mask = torch.arange(longest, device=device) <= positions[..., None]
            rows = torch.arange(len(self._lengths), device=device)[:, None]
            self._at = (rows, positions[:, 0])
        return positions

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Remembers the new keys and values of a layer and attends over all of its row. See `Memory.attend`."""
        if self._turns is None:
            raise ValueError("begin comes before attend")
        return self._look(layer, self._turns.rotate(q), self._turns.rotate(k), v)

    def _look(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As `attend`, of queries and keys that are turned already."""
        keys, values = self.keys[layer], self.values[layer]
        if self._at is None:
            start = self._span - self._count
            keys[:, :, start : self._span] = k
            values[:, :, start : self._span] = v
        else:
            rows, places = self._at
            keys[rows, :, places] = k.transpose(1, 2)
            values[rows, :, places] = v.transpose(1, 2)
        return attend_grouped(
            q, keys[:, :, : self._span], values[:, :, : self._span],
            mask=self._mask, causal=self._count == self._span > 1 and self._mask is None,
        )  # fmt: skip

    def finish(self) -> None:
        """Counts the new tokens as seen."""
        self._lengths = [length + self._count for length in self._lengths]

    def crop(self, lengths: int | Sequence[int]) -> None:
        """Forgets the tail: each row keeps its first `lengths` tokens.

        Raises:
            ValueError: A length below 0 or beyond what was seen.
        """
        wanted = [lengths] * len(self._lengths) if isinstance(lengths, int) else list(lengths)
        for new, old in zip(wanted, self._lengths, strict=True):
            if not 0 <= new <= old:
                raise ValueError(f"a row of {old} tokens cannot be cut to {new}")
        self._lengths = wanted

    def select(self, rows: Sequence[int]) -> None:
        """Keeps the given rows in that order, some perhaps twice: what a beam search does."""
        span, index = max(self._lengths), torch.tensor(list(rows), device=self.keys.device)
        shape = (*self.keys.shape[:1], len(rows), *self.keys.shape[2:])
        if len(rows) == self.keys.shape[1]:
            self.keys[:, :, :, :span] = self.keys[:, index, :, :span]
            self.values[:, :, :, :span] = self.values[:, index, :, :span]
        else:
            keys, values = self.keys.new_zeros(shape), self.values.new_zeros(shape)
            keys[..., :span, :] = self.keys[:, index, :, :span]
            values[..., :span, :] = self.values[:, index, :, :span]
            self.keys, self.values = keys, values
        self._lengths = [self._lengths[row] for row in rows]


class JoinedMemory:
    """Memories of one row each as the rows of one batch, which they enter and leave between passes at no cost.

    A row's tokens attend over that row alone, as long as it is: nothing is padded, and how a row is computed does not
    depend on the lengths of the others.

    Args:
        rows: Memories of one row, on one device and of one type.
    """

    def __init__(self, rows: Sequence[FullMemory]) -> None:
        self.rows = list(rows)
        self._turns: Turns | None = None

    @property
    def lengths(self) -> list[int]:
        """Tokens seen by each row."""
        return [length for row in self.rows for length in row.lengths]

    def begin(self, count: int, rotary: Rotary) -> None:
        """Prepares for `count` further tokens in every row. See `FullMemory.begin`."""
        positions = torch.stack([row._reserve(count) for row in self.rows])[:, None]
        self._turns = rotary.turns(positions, self.rows[0].keys.dtype)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Remembers the new keys and values of a layer and attends over all of its row. See `Memory.attend`."""
        if self._turns is None:
            raise ValueError("begin comes before attend")
        parts = zip(self.rows, self._turns.rotate(q).split(1), self._turns.rotate(k).split(1), v.split(1), strict=True)
        return torch.cat([row._look(layer, *heads) for row, *heads in parts])

    def finish(self) -> None:
        """Counts the new tokens as seen."""
        for row in self.rows:
            row.finish()
