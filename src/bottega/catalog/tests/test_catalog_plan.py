"""Forecasts against what can be worked out by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from bottega.catalog import ROOMS
from bottega.catalog.plan import Fakes, _count, plan_run


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(64, 3 * 64, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = (part.view(2, 50, 4, 16).transpose(1, 2) for part in self.wide(tokens).chunk(3, -1))
        return functional.scaled_dot_product_attention(query, key, value)


@pytest.mark.parametrize("trains", [False, True])
def test_flops_of_attention_are_counted_exactly(trains: bool) -> None:
    def work(model: nn.Module) -> None:
        with torch.set_grad_enabled(trains):
            made = model(torch.zeros(2, 50, 64))
            if trains:
                made.sum().backward()

    plan = _count(Fakes.of(Attention), work, "attention")
    linear, product = 2 * 2 * 50 * 64 * 192, 2 * 2 * 4 * 50 * 50 * 16
    forward, backward = linear + 2 * product, linear + 5 * product
    assert plan.complete
    assert plan.flops == forward + (backward if trains else 0)


def test_memory_is_freed_when_tensors_die() -> None:
    def work(model: nn.Module) -> None:
        for _ in range(10):
            torch.zeros(1_000_000)

    plan = _count(Fakes.of(lambda: nn.Linear(1, 1)), work, "zeros")
    assert 4_000_000 <= plan.peak_bytes < 9_000_000


def test_a_large_model_takes_no_memory_to_plan() -> None:
    plan = _count(Fakes.of(lambda: nn.Linear(100_000, 100_000)), lambda model: model(torch.zeros(1, 100_000)), "large")
    assert plan.weights_bytes == 4 * (10**10 + 10**5)
    assert plan.flops == 2 * 10**10


def test_a_system_on_another_is_planned_with_its_part() -> None:
    (plan,) = plan_run(ROOMS, "diffusion_classifier", "tiny")
    assert plan.flops > 10**8  # the part's null condition is a fake, too


def test_classes_drawn_by_chance_do_not_end_a_plan() -> None:
    (plan,) = plan_run(ROOMS, "mdt", "tiny")
    assert plan.flops > 10**9
