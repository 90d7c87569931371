"""Adapters of low rank: separate layers inside a fused one, applied, merged and taken off again."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bottega.errors import RequestError
from bottega.layers import Lora, LoraConfig, LoraPart, applied, merged, prepare_for_inference, undo_preparation

CONFIG = LoraConfig(rank=3, alpha=5.0)
Q = LoraPart(layer="0", peer="q", start=0, size=6)
V = LoraPart(layer="0", peer="v", start=8, size=2)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 10, bias=False), nn.GELU(), nn.Linear(10, 3))


def adapter(model, parts=(V, Q), seed=1):
    lora = Lora({"0": model[0], "2": model[2]}, parts, CONFIG)
    torch.manual_seed(seed)
    for parameter in lora.parameters():
        nn.init.normal_(parameter)
    return lora


def test_a_new_adapter_changes_nothing(model):
    x = torch.randn(2, 5, 4)
    with applied(model, Lora({"0": model[0]}, (Q, V), CONFIG)):
        inside = model(x)
    assert torch.equal(inside, model(x))


def test_parts_are_the_changes_of_separate_layers(model):
    lora, x = adapter(model), torch.randn(2, 5, 4)
    weight = model[0].weight.detach().clone()
    for part in (Q, V):
        factors = lora.of(part)
        weight[part.start : part.start + part.size] += 5 / 3 * factors.b @ factors.a
    with applied(model, lora):
        changed = model[0](x)
    torch.testing.assert_close(changed, x @ weight.T, atol=1e-5, rtol=1e-5)
    assert torch.equal(changed[..., 6:8], model[0](x)[..., 6:8])  # no part's outputs


def test_merged_equals_applied_and_comes_off_to_the_bit(model):
    one, two, x = (
        adapter(model),
        adapter(model, (LoraPart(layer="2", peer="o", start=0, size=3),), 2),
        torch.randn(7, 4),
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with applied(model, one, two):
        right = model(x)
    with merged(model, one, two):
        torch.testing.assert_close(model(x), right, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_merged_reaches_packed_weights(model):
    one, two, x = adapter(model), adapter(model, seed=2), torch.randn(7, 4)
    with applied(model, one):
        right = model(x)
    with applied(model, two):
        other = model(x)
    prepare_for_inference(model, packed=True)
    with torch.inference_mode():
        for lora, expected in ((one, right), (two, other), (one, right)):
            with merged(model, lora):
                torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-5)
    undo_preparation(model)


def test_an_error_inside_takes_the_adapter_off(model):
    lora, x = adapter(model), torch.randn(1, 4)
    plain = model(x)
    for way in (applied, merged):
        with pytest.raises(ZeroDivisionError), way(model, lora):
            raise ZeroDivisionError
        assert torch.equal(model(x), plain)


def test_only_the_adapter_is_trained(model):
    model.requires_grad_(False)
    lora = adapter(model)
    with applied(model, lora):
        model(torch.randn(3, 4)).square().sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in lora.parameters())


def test_dropout_is_for_training_only(model):
    lora, x = adapter(model), torch.randn(3, 4)
    lora.config = LoraConfig(rank=3, alpha=5.0, dropout=0.9)
    with applied(model, lora.eval()):
        assert torch.equal(model(x), model(x))
    with applied(model, lora.train()):
        assert not torch.equal(model(x), model(x))


@pytest.mark.parametrize(
    "parts",
    [(Q, LoraPart(layer="0", peer="k", start=5, size=2)), (LoraPart(layer="0", peer="k", start=9, size=2),)],
)
def test_parts_that_overlap_or_stick_out_are_refused(model, parts):
    with pytest.raises(ValueError, match="outputs"):
        adapter(model, parts)


def test_sizes_are_checked():
    with pytest.raises(RequestError, match="rank"):
        LoraConfig(rank=0)
    assert LoraConfig(rank=16, alpha=8.0, root=True).scale == 2.0
