"""Generators of samples and of drawn items."""

from __future__ import annotations

import torch

from bottega.training import draw_generators, sample_generators


def first(generators: list[torch.Generator]) -> list[float]:
    return [torch.rand((), generator=generator).item() for generator in generators]


def test_an_item_depends_on_the_seed_and_its_number_alone() -> None:
    few, many, other = (first(draw_generators(seed, count)) for seed, count in ((3, 2), (3, 5), (4, 5)))
    assert many[:2] == few
    assert len({*many, *other}) == 10


def test_items_are_drawn_as_the_samples_of_a_step() -> None:
    told = torch.Generator().manual_seed(3 << 32 | 77)  # the lower half is the process's own
    assert first(draw_generators(3, 4)) == first(sample_generators(told, range(4)))
