from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bottega.layers.int8 import Int8Linear, has_int8_kernel, linears_to_int8, quantise


def rows(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def layer(bias: bool = True) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(96, 40, bias=bias)


def test_rows_are_rounded_to_shares_of_their_largest_magnitude() -> None:
    x = torch.cat((rows(3, 50), torch.zeros(1, 50)))
    values, largest = quantise(x)
    back = (values.float() - 128) / 127 * largest
    assert ((back - x).abs() <= largest / 254 * 1.001).all()
    assert (values[3] == 128).all()
    assert int(values.max()) <= 255


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_layer_is_near_the_one_it_was_made_of(bias: bool, dtype: torch.dtype) -> None:
    linear = layer(bias)
    small, x = Int8Linear(linear), rows(6, 96).reshape(2, 3, 96).to(dtype)
    with torch.no_grad():
        expected, got = linear(x.float()), small(x)
    assert got.dtype is dtype
    assert got.shape == expected.shape
    assert (got.float() - expected).norm() < 0.02 * expected.norm()


@pytest.mark.skipif(not has_int8_kernel(torch.device("cpu")), reason="this processor has no 8-bit products")
def test_the_kernel_equals_its_plain_twin() -> None:
    small = Int8Linear(layer())
    values, _ = quantise(rows(9, 96, seed=3))
    assert torch.allclose(small._native(values), small.plain(values), rtol=1e-6, atol=1e-6)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    small, x = Int8Linear(layer()), rows(5, 96)
    x[0] *= 100
    assert torch.equal(small(x)[3], small(x[3:4])[0])


def test_all_linear_layers_of_a_model_change_and_shared_ones_stay_shared() -> None:
    first = nn.Linear(8, 8)
    model = nn.Sequential(first, nn.Sequential(nn.GELU(), nn.Linear(8, 4)), nn.Linear(4, 8), first)
    twin, x = copy.deepcopy(model), rows(3, 8)
    assert linears_to_int8(model) == 3
    assert model[0] is model[3]
    assert not list(model.parameters())
    with torch.no_grad():
        assert (model(x) - twin(x)).norm() < 0.1 * twin(x).norm()
        assert torch.equal(copy.deepcopy(model)(x), model(x))
