"""Many states of Jacobi decoding in one pass: a text, and behind it guesses at several blocks of it.

Every guess stands at the position of the token that it is a guess at, and sees the text in front of its block and the
guesses of its block up to itself; so each block's logits are those of a pass over the text up to it and its guesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bottega.layers import Rotary, Turns, attend_grouped


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedBlocks:
    """Texts with guesses at blocks of them.

    A row is its text, padded to `length`, and then for each block its guesses but the last, which nobody sees.

    Args:
        tokens: Ids `(rows, length + blocks * (size - 1))`.
        positions: Where each token stands in its text, of the same shape.
        mask: Which tokens see which, `(rows, 1, tokens, tokens)`.
        guessed: Where guesses are compared: `(rows, blocks, size - 1)`, 1 for a guess whose next token is in the text.
        starts: First token of each block, `(rows, blocks)`; 0 for no block.
        length: Of the padded texts.
    """

    tokens: Tensor
    positions: Tensor
    mask: Tensor
    guessed: Tensor
    starts: Tensor
    length: int

    @property
    def size(self) -> int:
        """Tokens of a block."""
        return self.guessed.shape[2] + 1

    def at(self) -> Tensor:
        """The places of all guesses, `(rows, blocks * (size - 1))`."""
        return torch.arange(self.length, self.tokens.shape[1], device=self.tokens.device).expand(len(self.tokens), -1)

    def sources(self) -> Tensor:
        """The places in the text where the right token stands instead of each guess, `(rows, blocks * (size - 1))`."""
        places = self.starts[..., None] + torch.arange(self.size - 1, device=self.starts.device)
        return places.clamp(max=self.length - 1).flatten(1)

    def advanced(self, logits: Tensor) -> PackedBlocks:
        """The next states.

        Args:
            logits: Of all guesses, `(rows, blocks * (size - 1), vocabulary)`.
        """
        guesses = logits.argmax(-1).unflatten(1, self.guessed.shape[1:]).roll(1, dims=2)
        first = self.tokens.gather(1, self.starts)  # right after one pass, because all in front of it is
        guesses[..., 0] = first
        tokens = torch.cat([self.tokens[:, : self.length], guesses.flatten(1)], 1)
        return replace(self, tokens=tokens)


class BlockView:
    """The `bottega.layers.Memory` of one pass over packed blocks: it remembers nothing.

    Args:
        packed: What is read.
    """

    def __init__(self, packed: PackedBlocks) -> None:
        self.packed = packed
        self._turns: Turns | None = None

    @property
    def lengths(self) -> list[int]:
        """Nothing was seen before."""
        return [0] * len(self.packed.tokens)

    def begin(self, count: int, rotary: Rotary) -> None:
        """Prepares for all tokens at once."""
        if count != self.packed.tokens.shape[1]:
            raise ValueError(f"{count} tokens are read, but {self.packed.tokens.shape[1]} were packed")
        self._turns = rotary.turns(self.packed.positions[:, None], torch.float32)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attends as the mask says. See `Memory.attend`."""
        if self._turns is None:
            raise ValueError("begin comes before attend")
        return attend_grouped(self._turns.rotate(q), self._turns.rotate(k), v, mask=self.packed.mask, causal=False)

    def finish(self) -> None:
        """Nothing is kept."""


def pack_blocks(
    texts: Sequence[Sequence[int]], starts: Sequence[Sequence[int]], guesses: Sequence[Sequence[Sequence[int]]],
) -> PackedBlocks:  # fmt: skip
    """Packs texts with guesses at blocks of them.

    Args:
        texts: Ids.
        starts: For each text, the first tokens of its blocks, from 1 on.
        guesses: For each block as many guesses, at least 2; those beyond the text's end do not count.
    """
    rows, length = len(texts), max(len(text) for text in texts)
    blocks, size = max(len(own) for own in starts), len(guesses[0][0])
    clean = torch.zeros(rows, length, dtype=torch.long)
    begin = torch.zeros(rows, blocks, dtype=torch.long)
    noisy = torch.zeros(rows, blocks, size - 1, dtype=torch.long)
    lengths = torch.tensor([len(text) for text in texts])
    for row, (text, own, guessed) in enumerate(zip(texts, starts, guesses, strict=True)):
        clean[row, : len(text)] = torch.tensor(list(text))
        begin[row, : len(own)] = torch.tensor(list(own))
        noisy[row, : len(own)] = torch.tensor([list(block)[:-1] for block in guessed])
    places = begin[..., None] + torch.arange(size - 1)
    positions = torch.cat([torch.arange(length).expand(rows, -1), places.flatten(1)], 1)
    return PackedBlocks(
        tokens=torch.cat([clean, noisy.flatten(1)], 1), positions=positions, mask=_mask(begin, length, size),
        guessed=((places + 1 < lengths[:, None, None]) & (begin[..., None] > 0)).float(), starts=begin, length=length,
    )  # fmt: skip


def _mask(begin: Tensor, length: int, size: int) -> Tensor:
    """Which tokens see which: texts are causal; guesses see the text in front of their block, and their block."""
    rows, blocks = begin.shape
    count = blocks * (size - 1)
    place = torch.arange(length + count)
    block = torch.cat([torch.full((length,), -1), torch.arange(blocks).repeat_interleave(size - 1)])
    limit = torch.cat([place[:length].expand(rows, -1) + 1, begin.repeat_interleave(size - 1, 1)], 1)
    text = (place < limit[..., None]) & (block == -1)
    same = (block[:, None] == block) & (place <= place[:, None])
    return (text | same)[:, None]
