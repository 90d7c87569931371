"""What a metric gives when nothing is understood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from bottega.errors import RequestError

Made = TypeVar("Made")
Condition = TypeVar("Condition")


@dataclass(frozen=True, kw_only=True, slots=True)
class Controlled:
    """A figure beside its control.

    Args:
        value: The figure.
        control: The mean of the same figure over shuffles of the conditions.
    """

    value: float
    control: float


def with_control(
    metric: Callable[[Sequence[Made], Sequence[Condition]], float],
    made: Sequence[Made],
    conditions: Sequence[Condition],
    *,
    shuffles: int = 1,
    seed: int = 0,
) -> Controlled:
    """A metric of what was made under conditions, with the same metric where nothing keeps its own condition.

    Equal conditions may still meet by chance, as they should in a control.

    Args:
        metric: `(made, conditions)` to a figure.
        made: What a system made, at least 2.
        conditions: What each was made from.
        shuffles: Shuffles to average over, at least 1.
        seed: Seed of the shuffles.

    Raises:
        RequestError: Different lengths, fewer than 2 samples, or no shuffle.
    """
    if len(made) != len(conditions) or len(made) < 2:
        raise RequestError.of("the number of conditions", len(conditions), f"{len(made)} as of samples, and 2 or more")
    if shuffles < 1:
        raise RequestError.of("shuffles", shuffles, "at least 1")
    generator = torch.Generator().manual_seed(seed)
    controls = [
        metric(made, [conditions[index] for index in _derangement(len(made), generator)]) for _ in range(shuffles)
    ]
    return Controlled(value=metric(made, conditions), control=sum(controls) / shuffles)


def _derangement(count: int, generator: torch.Generator) -> list[int]:
    """A random permutation that leaves nothing in place: one cycle through all in random order."""
    order = torch.randperm(count, generator=generator)
    moved = torch.empty_like(order)
    moved[order] = order.roll(1)
    return moved.tolist()
