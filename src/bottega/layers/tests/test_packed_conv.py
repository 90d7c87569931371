"""Frozen convolutions are torch's own, forward and backward."""

from __future__ import annotations

import pytest
import torch

from bottega.layers import FrozenConv3x3


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_results_and_gradients_are_those_of_the_plain_convolution(double, batch):
    weight = torch.randn(5, 7, 3, 3)
    conv = FrozenConv3x3(weight, double=double, side=6)
    x = torch.randn(batch, 5 if double else 7, 6, 6, requires_grad=True)
    made, plain = conv(x), conv.plain(x)
    torch.testing.assert_close(made, plain, atol=1e-4, rtol=1e-4)
    above = torch.randn_like(plain)
    torch.testing.assert_close(
        torch.autograd.grad(made, x, above)[0], torch.autograd.grad(plain, x, above)[0], atol=1e-4, rtol=1e-4
    )
    with torch.no_grad():
        torch.testing.assert_close(conv(x), plain, atol=1e-4, rtol=1e-4)


def test_another_side_than_the_layout_was_made_for_works_too():
    conv = FrozenConv3x3(torch.randn(4, 4, 3, 3), double=False, side=4)
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(conv(x), conv.plain(x), atol=1e-4, rtol=1e-4)


def test_other_numbers_take_the_plain_way():
    conv = FrozenConv3x3(torch.randn(4, 4, 3, 3), double=True, side=4)
    x = torch.randn(1, 4, 4, 4)
    assert conv(x.double()).dtype is torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv(x).dtype is torch.bfloat16
    half = FrozenConv3x3(torch.randn(4, 4, 3, 3).bfloat16(), double=False, side=4)
    assert half.forward_weight is None
    assert half(x.bfloat16()).dtype is torch.bfloat16
