"""Randomness as a function of (seed, step, rank), so that a resumed run needs no saved generator state."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch


def mix(*parts: int) -> int:
    """A 63-bit number that is a hash of the given integers."""
    text = ",".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def batch_generator(seed: int, step: int, rank: int) -> torch.Generator:
    """The generator that `Recipe.batch` gets.

    torch's CPU engine takes the low 32 bits of a seed, and these differ between ranks. The upper 31 bits, equal on
    all ranks, are the key of `sample_generators`.
    """
    shared = mix(seed, step) >> 32
    return torch.Generator().manual_seed(shared << 32 | mix(seed, step, rank) & 0xFFFFFFFF)


def sample_generators(generator: torch.Generator, indices: Sequence[int]) -> list[torch.Generator]:
    """One generator for each sample of a batch, whatever process the sample landed on.

    A recipe that draws each sample's randomness from these gives the same losses on one process and on many. Draws
    from `generator` itself differ between processes.

    Args:
        generator: What `Recipe.batch` got, at any state.
        indices: The samples, as `Recipe.batch` got them.

    Returns:
        CPU generators, in the order of `indices`.
    """
    key = generator.initial_seed() >> 32
    return [torch.Generator().manual_seed(mix(key, index)) for index in indices]


def draw_generators(seed: int, count: int) -> list[torch.Generator]:
    """One generator for each item that a request makes: item i depends on the seed and i alone.

    Args:
        seed: The request's seed.
        count: Items.

    Returns:
        CPU generators, in the items' order.
    """
    return sample_generators(torch.Generator().manual_seed(seed << 32), range(count))
