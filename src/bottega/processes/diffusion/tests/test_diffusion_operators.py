"""Every operator has its adjoint, the right damped inverse, and (Radon) the geometry of scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.transform import iradon, radon

from bottega.errors import RequestError
from bottega.processes.diffusion import BlockAverage, Blur, Fourier, Grey, Mask, Matrix, Radon
from bottega.processes.diffusion.operators import conjugate_gradients, inner


def numbers(*shape, seed=0, kind=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=kind)


COIN = (numbers(8, 8, seed=5) > 0).double()
CASES = {
    "mask": (Mask(COIN), (2, 3, 8, 8), (2, 3, 8, 8)),
    "grey": (Grey(), (2, 3, 8, 8), (2, 1, 8, 8)),
    "blocks": (BlockAverage(4), (2, 3, 8, 12), (2, 3, 2, 3)),
    "blur": (Blur(numbers(3, 5, seed=9)), (2, 3, 8, 9), (2, 3, 8, 9)),
    "fourier": (Fourier(COIN), (2, 1, 8, 8), (2, 1, 8, 8)),
    "fourier, odd": (Fourier((numbers(7, 7, seed=5) > 0).double()), (2, 1, 7, 7), (2, 1, 7, 7)),
    "radon": (Radon.even(9, 4), (2, 2, 9, 9), (2, 2, 4, 9)),
    "matrix": (Matrix(numbers(3, 5)), (2, 5), (2, 3)),
}


def measurement(operator, shape, seed):
    if isinstance(operator, Fourier):
        return torch.complex(numbers(*shape, seed=seed), numbers(*shape, seed=seed + 1)) * operator.sampled
    return numbers(*shape, seed=seed) * (operator.known if isinstance(operator, Mask) else 1)


@pytest.mark.parametrize("name", CASES)
def test_adjoint_passes_the_dot_product_test(name):
    operator, states, measurements = CASES[name]
    x, y = numbers(*states, seed=1), measurement(operator, measurements, 2)
    assert operator.forward(x).shape == y.shape
    torch.testing.assert_close(inner(operator.forward(x), y), inner(x, operator.adjoint(y)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("damping", [0.3, torch.tensor([0.3, 2.0], dtype=torch.float64)], ids=["one", "each"])
@pytest.mark.parametrize("name", CASES)
def test_gram_inverse_solves_the_damped_system(name, damping):
    operator, _, measurements = CASES[name]
    y = measurement(operator, measurements, 3)
    if isinstance(damping, torch.Tensor):
        damping = damping.reshape(-1, *[1] * (y.ndim - 1))
    solved = operator.gram_inverse(y, damping)
    again = operator.forward(operator.adjoint(solved)) + damping * solved
    torch.testing.assert_close(again, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_pseudo_inverse_explains_the_measurement_with_the_smallest_state(name):
    operator, states, _ = CASES[name]
    x = numbers(*states, seed=4)
    least = operator.pseudo_inverse(operator.forward(x))
    torch.testing.assert_close(operator.forward(least), operator.forward(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(inner(least, x - least), torch.zeros(len(x), dtype=x.dtype), rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [32, 33])
def test_radon_is_scikit_image(size):
    angles = (0.0, 17.3, 45.0, 90.0, 133.0, 170.0)
    rows, columns = np.mgrid[:size, :size] - size // 2
    picture = numbers(size, size).abs() * torch.from_numpy(rows**2 + columns**2 < (size // 2 - 1) ** 2)
    ours = Radon(size, angles).forward(picture[None, None])[0, 0]
    np.testing.assert_allclose(ours.numpy(), radon(picture.numpy(), angles, circle=True).T, atol=1e-10)
    every = Radon.even(size, 20)
    lines = every.forward(picture[None, None])
    peer = iradon(lines[0, 0].numpy().T, every.angles, circle=True)
    np.testing.assert_allclose(every.filtered_back_projection(lines)[0, 0].numpy(), peer, atol=1e-10)


def test_radon_iterates_where_it_cannot_decompose(monkeypatch):
    operator = Radon.even(16, 5)
    y = operator.forward(numbers(1, 1, 16, 16))
    direct = operator.gram_inverse(y, 0.5)
    monkeypatch.setattr("bottega.processes.diffusion.radon.DENSE_ROWS", 1)
    torch.testing.assert_close(operator.gram_inverse(y, 0.5), direct, rtol=1e-4, atol=1e-4)


def test_fourier_lines_keep_the_lowest_frequencies():
    operator = Fourier.lines(16, 6, 3, torch.Generator().manual_seed(0))
    rows = operator.sampled.mean(1)
    assert rows.sum() == 6
    assert rows[[0, 1, 15]].tolist() == [1, 1, 1]
    assert set(rows.tolist()) == {0.0, 1.0}


def test_conjugate_gradients_solve_each_item_by_itself():
    root = numbers(6, 6)
    matrix = root @ root.T + torch.eye(6, dtype=root.dtype)
    right = numbers(3, 6, seed=1) * torch.tensor([[1.0], [1e3], [0.0]])
    solved = conjugate_gradients(lambda v: v @ matrix, right, tolerance=1e-10)
    torch.testing.assert_close(solved, torch.linalg.solve(matrix, right.T).T)


def test_wrong_sizes_are_named():
    with pytest.raises(RequestError, match="factor is 3"):
        BlockAverage(3).forward(torch.zeros(1, 1, 8, 8))
    with pytest.raises(RequestError, match="two odd numbers"):
        Blur(torch.ones(2, 2))
    with pytest.raises(RequestError, match=r"\(9, 9\)"):
        Radon.even(9, 4).forward(torch.zeros(1, 1, 8, 8))
    with pytest.raises(RequestError, match="center <= count"):
        Fourier.lines(16, 2, 3, torch.Generator())
