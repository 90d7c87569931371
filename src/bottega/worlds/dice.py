"""Random numbers that depend only on a seed and an index, on every machine and with every version of numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def mix(value: int) -> int:
    """Scrambles 64 bits.

    Source: the output function of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom generators", 2014).
    """
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def mix_text(text: str) -> int:
    """64 well-mixed bits of a text, the same in every process (unlike `hash`)."""
    state = 0
    for code in text.encode("utf-8"):
        state = mix((state + code + _GOLDEN) & _MASK)
    return state


class Dice:
    """The stream of random numbers that belongs to one sample.

    Args:
        seed: The world's seed.
        index: The sample's index. Streams of different indices are independent; no order is needed.
    """

    __slots__ = ("_state",)

    def __init__(self, seed: int, index: int) -> None:
        self._state = mix((mix(seed & _MASK) + index * _GOLDEN) & _MASK)

    def bits(self) -> int:
        """The next 64 bits."""
        self._state = (self._state + _GOLDEN) & _MASK
        return mix(self._state)

    def unit(self) -> float:
        """The next number in [0, 1)."""
        return (self.bits() >> 11) * 2.0**-53

    def between(self, low: float, high: float) -> float:
        """The next number in [low, high)."""
        return low + (high - low) * self.unit()

    def below(self, bound: int) -> int:
        """The next integer in [0, bound); the bias is below bound / 2**64."""
        return self.bits() * bound >> 64

    def pick(self, items: Sequence[Item]) -> Item:
        """One of the items."""
        return items[self.below(len(items))]

    def weighted(self, items: Sequence[Item], weights: Sequence[float]) -> Item:
        """One of the items, each as often as its weight says."""
        mark = self.between(0.0, sum(weights))
        for item, weight in zip(items, weights, strict=True):
            if mark < weight:
                return item
            mark -= weight
        return items[-1]

    def choose(self, items: Sequence[Item], count: int) -> list[Item]:
        """`count` different items, in random order."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(count)]
