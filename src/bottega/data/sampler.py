"""The order in which training sees a source: shuffled, resumable, and the same on any number of processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from bottega.errors import RequestError

_ROUNDS: Final = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerState:
    """Everything that decides the batches still to come.

    Args:
        batches: Global batches drawn so far.
        length: Samples in the source.
        batch_size: Samples in a global batch.
        seed: Seed of the order.
    """

    batches: int
    length: int
    batch_size: int
    seed: int


class ShuffledSampler(Iterator[list[int]]):
    """An endless iterator over batches of indices, each epoch a new permutation.

    Epochs follow each other without a gap, so a batch may hold the end of one and the start of the next: every index
    comes exactly once an epoch and none is dropped. The order is a function of the seed and a position; nothing of the
    size of the source is kept, and the state is one number. The global batches do not depend on `world_size`: each
    rank takes its own slice of them, and a run may resume on another number of processes.

    Args:
        length: Samples in the source, at least 1.
        batch_size: Samples in a *global* batch, over all ranks; a multiple of `world_size`.
        seed: Any integer.
        rank: This process, from 0.
        world_size: Number of processes.

    Raises:
        RequestError: An argument is out of its range.
    """

    def __init__(self, length: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if length < 1:
            raise RequestError.of("length", length, "at least 1")
        if world_size < 1 or not 0 <= rank < world_size:
            raise RequestError.of("rank", rank, f"in [0, world_size), and world_size is {world_size}")
        if batch_size < 1 or batch_size % world_size:
            raise RequestError.of("batch_size", batch_size, f"a positive multiple of world_size, which is {world_size}")
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self._batches = 0

    def __next__(self) -> list[int]:
        """This rank's slice of the next global batch."""
        share = self.batch_size // self.world_size
        start = self._batches * self.batch_size + self.rank * share
        self._batches += 1
        return shuffled(np.arange(start, start + share), self.length, self.seed).tolist()

    @property
    def epoch(self) -> float:
        """How often the source has been seen so far."""
        return self._batches * self.batch_size / self.length

    def state(self) -> SamplerState:
        """What `restore` needs to go on from here."""
        return SamplerState(batches=self._batches, length=self.length, batch_size=self.batch_size, seed=self.seed)

    def restore(self, state: SamplerState) -> None:
        """Goes on from a state of this sampler or of an equal one of any rank and world size.

        Raises:
            RequestError: The state belongs to another source, batch size or seed.
        """
        for field in ("length", "batch_size", "seed"):
            saved, ours = getattr(state, field), getattr(self, field)
            if saved != ours:
                raise RequestError.of(field, ours, f"{saved} as in the run that is resumed", "use the same settings")
        self._batches = state.batches


def shuffled(positions: np.ndarray, length: int, seed: int) -> np.ndarray:
    """The indices at some positions of an endless sequence that permutes `range(length)` anew in each epoch.

    Args:
        positions: Non-negative integers `(n,)`; position `p` lies in epoch `p // length`.
        length: Size of the permuted range.
        seed: Seed of the sequence.

    Returns:
        Indices in `[0, length)`, `(n,)`.
    """
    epochs, places = np.divmod(positions, length)
    indices = np.empty_like(places)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        indices[here] = permute(places[here], length, _round_keys(seed, int(epoch)))
    return indices


def permute(places: np.ndarray, length: int, keys: np.ndarray) -> np.ndarray:
    """Where each place goes under a keyed permutation of `range(length)`, computed without holding the permutation.

    A Feistel network permutes the smallest range of 4^k that holds `length`; a value that falls outside `length` is
    permuted again until it falls inside ("cycle walking"), which keeps the map one to one.

    Args:
        places: Integers in `[0, length)`, `(n,)`.
        length: Size of the range.
        keys: One 64-bit key a round, `(rounds,)`.

    Source:
        Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002, section 4.
    """
    half_bits = max(1, (int(length - 1).bit_length() + 1) // 2)
    values = _feistel(places.astype(np.uint64), half_bits, keys)
    while (outside := values >= length).any():
        values[outside] = _feistel(values[outside], half_bits, keys)
    return values.astype(np.int64)


def _feistel(values: np.ndarray, half_bits: int, keys: np.ndarray) -> np.ndarray:
    """A permutation of `[0, 4^half_bits)`: (left, right) -> (right, left xor f(right)) in each round."""
    shift, mask = np.uint64(half_bits), np.uint64(2**half_bits - 1)
    left, right = values >> shift, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << shift) | right


def _mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele et al. 2014): each output bit depends on every input bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _round_keys(seed: int, epoch: int) -> np.ndarray:
    """A 64-bit key for each round, from the seed and the epoch."""
    digest = hashlib.blake2b(f"{seed}/{epoch}".encode(), digest_size=8 * _ROUNDS).digest()
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)
