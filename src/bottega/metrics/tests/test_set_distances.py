"""Fréchet and kernel distances against closed forms, scipy's matrix square root and sums over all pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.linalg
import torch
from beartype import beartype
from jaxtyping import jaxtyped

import bottega.metrics
from bottega.errors import RequestError

frechet_distance = jaxtyped(typechecker=beartype)(bottega.metrics.frechet_distance)
kernel_distance = jaxtyped(typechecker=beartype)(bottega.metrics.kernel_distance)


def gaussian(rows: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exactly(rows: int, mean: torch.Tensor, root: torch.Tensor, seed: int) -> torch.Tensor:
    """Samples whose empirical mean is `mean` and whose empirical covariance is `root.T @ root`, to rounding."""
    noise = gaussian(rows, len(mean), seed)
    white = torch.linalg.qr(noise - noise.mean(dim=0)).Q * (rows - 1) ** 0.5
    return white @ root + mean


def test_frechet_distance_of_gaussians_with_commuting_covariances():
    """For diagonal covariances: |mu_a - mu_b|^2 + sum (s_a - s_b)^2."""
    mean_a, mean_b = torch.tensor([0.0, 1, 2]).double(), torch.tensor([1.0, 1, 4]).double()
    deviations_a, deviations_b = torch.tensor([1.0, 2, 3]).double(), torch.tensor([3.0, 2, 0.5]).double()
    a = exactly(50, mean_a, deviations_a.diag(), seed=0)
    b = exactly(40, mean_b, deviations_b.diag(), seed=1)
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + (4 + 0 + 6.25), rel=1e-12)


def test_frechet_distance_of_a_shift_is_its_square():
    a = gaussian(30, 4, seed=0)
    assert frechet_distance(a, a + torch.tensor([3.0, 0, 4, 0]).double()) == pytest.approx(25, rel=1e-10)


def test_frechet_distance_equals_scipys_square_root():
    a = gaussian(200, 12, seed=0) @ gaussian(12, 12, seed=1)
    b = gaussian(150, 12, seed=2) @ gaussian(12, 12, seed=3) + 0.5
    covariance_a, covariance_b = np.cov(a.numpy().T), np.cov(b.numpy().T)
    root = scipy.linalg.sqrtm(covariance_a @ covariance_b).real
    shift = (a.mean(dim=0) - b.mean(dim=0)).square().sum().item()
    expected = shift + np.trace(covariance_a + covariance_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_with_fewer_samples_than_dimensions():
    a, b = gaussian(5, 40, seed=0), gaussian(7, 40, seed=1)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)
    rotation = torch.linalg.qr(gaussian(40, 40, seed=2)).Q
    assert frechet_distance(a @ rotation, b @ rotation) == pytest.approx(frechet_distance(a, b), rel=1e-10)


def test_frechet_distance_is_computed_in_double_precision():
    """Float32 features far from the origin: the shift of 1 must not drown in the rounding of their squares."""
    a = (gaussian(64, 6, seed=0) + 4096).float()
    assert frechet_distance(a, a + 1) == pytest.approx(6, rel=1e-4)


def brute_force_mmd(x: torch.Tensor, y: torch.Tensor) -> float:
    def kernel(u: torch.Tensor, v: torch.Tensor) -> float:
        return (float(u @ v) / len(u) + 1) ** 3

    n = len(x)
    within = sum(kernel(side[i], side[j]) for side in (x, y) for i, j in itertools.permutations(range(n), 2))
    across = sum(kernel(u, v) for u in x for v in y)
    return within / (n * (n - 1)) - 2 * across / n**2


def test_kernel_distance_equals_the_sum_over_all_pairs():
    x, y = gaussian(9, 4, seed=0), gaussian(9, 4, seed=1) + 0.3
    assert kernel_distance(x, y).value == pytest.approx(brute_force_mmd(x, y), rel=1e-12)


def test_kernel_distance_is_unbiased_and_knows_its_error():
    """The mean over many blocks of equal distributions is 0 within its error; a shift is far outside of it."""
    a, b = gaussian(4000, 3, seed=0), gaussian(4000, 3, seed=1)
    same = kernel_distance(a, b, block_size=40)
    assert same.blocks == 100
    assert abs(same.value) < 3 * same.standard_error
    shifted = kernel_distance(a, b + 1, block_size=40)
    assert shifted.value > 10 * shifted.standard_error


def test_kernel_distance_blocks_are_disjoint_and_equal():
    """Rows in which only one differs: exactly one block may notice."""
    a = torch.ones(12, 2).double()
    b = a.clone()
    b[5] = 7
    estimate = kernel_distance(a, b, block_size=4)
    assert estimate.blocks == 3
    alone = kernel_distance(a[:4], torch.cat([b[5:6], b[:3]]), block_size=4)
    assert estimate.value == pytest.approx(alone.value / 3)


def test_kernel_distance_does_not_depend_on_the_order_of_the_users_rows():
    """Sets often come sorted by class; blocks must mix them."""
    a = torch.cat([gaussian(50, 2, seed=0), gaussian(50, 2, seed=1) + 5])
    blocks = [kernel_distance(a, a.flip(0), block_size=20, seed=seed).value for seed in range(4)]
    assert len(set(blocks)) == 4
    assert max(abs(value) for value in blocks) < 0.2 * abs(kernel_distance(a[:50], a[50:], block_size=20).value)


@pytest.mark.parametrize("distance", [bottega.metrics.frechet_distance, bottega.metrics.kernel_distance])
@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (torch.zeros(1, 3), torch.zeros(5, 3), "first set is (1, 3)"),
        (torch.zeros(5, 3), torch.zeros(5, 4), "width of the second set is 4"),
        (torch.zeros(5, 3), torch.full((5, 3), float("nan")), "second set holds values that are not finite"),
        (torch.zeros(5), torch.zeros(5, 3), "first set is (5,)"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(distance, a, b, words):
    with pytest.raises(RequestError) as caught:
        distance(a, b)
    assert words in str(caught.value)
