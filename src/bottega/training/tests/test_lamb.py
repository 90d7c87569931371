"""LAMB against steps computed by hand, and layer-wise rates."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bottega.networks import Eva, EvaConfig
from bottega.training import FitSettings, Lamb, Optimizer, decay_groups, layer_rates, layered_groups, optimizer_of

SETTINGS = FitSettings(
    steps=1, batch_size=1, learning_rate=0.1, weight_decay=0.5, betas=(0.9, 0.98), optimizer=Optimizer.LAMB
)


def stepped(weight: torch.Tensor, gradients: list[torch.Tensor], decay: float = 0.5) -> torch.Tensor:
    """A tensor after LAMB's steps along these gradients."""
    parameter = nn.Parameter(weight.clone())
    optimizer = Lamb([{"params": [parameter], "weight_decay": decay}], SETTINGS)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


def test_the_first_step_by_hand() -> None:
    """The corrected moments of one gradient are g and g squared, so Adam's step is the gradient's sign."""
    weight, gradient = torch.tensor([[3.0, -4.0]]), torch.tensor([[0.2, 0.7]])
    step = torch.tensor([[1.0 + 0.5 * 3.0, 1.0 + 0.5 * -4.0]])  # (2.5, -1)
    trust = 5.0 / (2.5**2 + 1.0) ** 0.5
    torch.testing.assert_close(stepped(weight, [gradient]), weight - 0.1 * trust * step, atol=1e-5, rtol=1e-5)


def test_two_steps_by_hand() -> None:
    weight = torch.tensor([1.0, 2.0, -2.0]).double()
    gradients = [torch.tensor(values).double() for values in ([1.0, 2.0, 3.0], [2.0, -1.0, 0.5])]
    expected, mean, square = weight.clone(), torch.zeros(3).double(), torch.zeros(3).double()
    for count, gradient in enumerate(gradients, start=1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.98 * square + 0.02 * gradient**2
        step = (mean / (1 - 0.9**count)) / ((square / (1 - 0.98**count)).sqrt() + 1e-6) + 0.5 * expected
        expected = expected - 0.1 * expected.norm() / step.norm() * step
    torch.testing.assert_close(stepped(weight, gradients), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("factor", [30.0, 1e4])
def test_the_scale_of_the_gradients_does_not_matter(factor: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, gradients = torch.randn(6, 4, generator=generator), list(torch.randn(5, 6, 4, generator=generator))
    scaled = stepped(weight, [factor * gradient for gradient in gradients])
    torch.testing.assert_close(scaled, stepped(weight, gradients), atol=2e-4, rtol=2e-4)


def test_a_step_is_as_long_as_its_tensor() -> None:
    """The relative change of a decayed tensor is the rate, whatever the tensor's scale."""
    generator = torch.Generator().manual_seed(1)
    for scale in (1e-3, 1.0, 1e3):
        weight = scale * torch.randn(8, 8, generator=generator)
        moved = stepped(weight, [torch.randn(8, 8, generator=generator)])
        assert ((moved - weight).norm() / weight.norm()).item() == pytest.approx(0.1, rel=1e-4)


def test_tensors_without_decay_take_adams_step_and_zeros_can_move() -> None:
    weight, gradient = torch.tensor([30.0, -40.0]), torch.tensor([0.2, -0.7])
    torch.testing.assert_close(
        stepped(weight, [gradient], decay=0.0), weight - 0.1 * gradient.sign(), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(stepped(torch.zeros(2), [gradient]), -0.1 * gradient.sign(), atol=1e-5, rtol=0)


def test_settings_choose_it_and_its_state_can_be_kept() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    optimizer = optimizer_of(decay_groups(model, SETTINGS), SETTINGS)
    assert isinstance(optimizer, Lamb)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    model(torch.randn(5, 4)).square().sum().backward()
    optimizer.step()
    twin = optimizer_of(decay_groups(model, SETTINGS), SETTINGS)
    twin.load_state_dict(optimizer.state_dict())
    pairs = zip(optimizer.state.values(), twin.state.values(), strict=True)
    assert all(torch.equal(ours["exp_avg"], theirs["exp_avg"]) for ours, theirs in pairs)


def test_rates_fall_from_layer_to_layer() -> None:
    """As published: block l of L has decay ** (L + 1 - l), patches and positions decay ** (L + 1), the rest all."""
    tower = Eva(EvaConfig(size=16, patch_size=4, width=32, depth=3, num_heads=2, hidden=64))
    groups = layered_groups(decay_groups(tower, SETTINGS), layer_rates(tower, 3, 0.5, share=0.2), learning_rate=0.1)
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    named = {name: rate[id(parameter)] for name, parameter in tower.named_parameters()}
    for name in ("patch_embed.proj.weight", "class_token", "pos_embed"):
        assert named[name] == pytest.approx(0.02 * 0.5**4)
    for block in range(3):
        assert named[f"blocks.{block}.mlp.fc1.weight"] == pytest.approx(0.02 * 0.5 ** (3 - block))
        assert named[f"blocks.{block}.attention.q_bias"] == pytest.approx(0.02 * 0.5 ** (3 - block))
    assert named["norm_out.weight"] == pytest.approx(0.02)
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert decay[id(tower.get_parameter("blocks.0.norm1.weight"))] == 0.0
    assert decay[id(tower.get_parameter("blocks.0.mlp.fc1.weight"))] == 0.5
    assert sum(len(group["params"]) for group in groups) == len(list(tower.parameters()))
