"""The order in which a run sees its samples: a fresh permutation for every pass over the data."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from bottega.training.randomness import mix


class SampleOrder:
    """Batches of indices without end, from any position; passes join without a gap.

    Args:
        length: Number of samples.
        batch_size: Indices in one batch.
        seed: Source of the permutations.
        position: Samples already seen.
    """

    def __init__(self, length: int, batch_size: int, seed: int, position: int = 0) -> None:
        self._length = length
        self._batch_size = batch_size
        self._seed = seed
        self.position = position
        self._epoch = -1
        self._permutation: list[int] = []

    def __iter__(self) -> Iterator[list[int]]:
        while True:
            yield [self._next() for _ in range(self._batch_size)]

    def _next(self) -> int:
        epoch, offset = divmod(self.position, self._length)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(mix(self._seed, epoch))
            self._permutation = torch.randperm(self._length, generator=generator).tolist()
            self._epoch = epoch
        self.position += 1
        return self._permutation[offset]
