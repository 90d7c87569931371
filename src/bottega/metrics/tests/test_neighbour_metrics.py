"""Precision, recall, density, coverage and retrieval against loops over every pair."""

from __future__ import annotations

import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped

import bottega.metrics
from bottega.errors import RequestError
from bottega.metrics import neighbours

density_coverage = jaxtyped(typechecker=beartype)(bottega.metrics.density_coverage)
precision_recall = jaxtyped(typechecker=beartype)(bottega.metrics.precision_recall)
retrieval_accuracy = jaxtyped(typechecker=beartype)(bottega.metrics.retrieval_accuracy)


def gaussian(rows: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def radius(points: torch.Tensor, i: int, k: int) -> float:
    return sorted(float((points[i] - points[j]).norm()) for j in range(len(points)) if j != i)[k - 1]


def inside(point: torch.Tensor, points: torch.Tensor, k: int) -> list[bool]:
    return [float((point - points[i]).norm()) <= radius(points, i, k) for i in range(len(points))]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(5, 14), st.integers(5, 14))
def test_precision_recall_density_coverage_equal_their_definitions(seed, k, real_rows, fake_rows):
    real = gaussian(real_rows, 3, seed)
    fake = 0.7 * gaussian(fake_rows, 3, seed + 1) + 0.5
    fakes_in_real = [inside(point, real, k) for point in fake]
    reals_in_fake = [inside(point, fake, k) for point in real]
    measured = precision_recall(real, fake, k=k)
    assert measured.precision == pytest.approx(sum(any(row) for row in fakes_in_real) / fake_rows)
    assert measured.recall == pytest.approx(sum(any(row) for row in reals_in_fake) / real_rows)
    measured = density_coverage(real, fake, k=k)
    assert measured.density == pytest.approx(sum(sum(row) for row in fakes_in_real) / (k * fake_rows))
    assert measured.coverage == pytest.approx(
        sum(any(column) for column in zip(*fakes_in_real, strict=True)) / real_rows
    )


def test_chunks_do_not_change_the_figures(monkeypatch):
    real, fake = gaussian(60, 4, seed=0), gaussian(50, 4, seed=1) * 0.8
    targets = torch.arange(50)
    whole = precision_recall(real, fake), density_coverage(real, fake), retrieval_accuracy(fake, real, targets, 5)
    monkeypatch.setattr(neighbours, "_ROWS", 7)
    assert whole == (
        precision_recall(real, fake),
        density_coverage(real, fake),
        retrieval_accuracy(fake, real, targets, 5),
    )


def test_equal_sets_are_perfect_and_far_sets_share_nothing():
    real = gaussian(40, 5, seed=0) * 100 + 1e4
    same = precision_recall(real, real.clone())
    assert (same.precision, same.recall) == (1, 1)
    assert density_coverage(real, real.clone()).coverage == 1
    far = precision_recall(real, real + 1e6)
    assert (far.precision, far.recall) == (0, 0)
    assert density_coverage(real, real + 1e6) == bottega.metrics.DensityCoverage(density=0, coverage=0)


def test_a_collapsed_generator_has_precision_without_recall():
    """Copies of one real sample. Their balls have radius 0, which rounding must not blow up."""
    real = gaussian(200, 16, seed=0) * 30 + 1000
    fake = real[3].repeat(50, 1)
    measured = precision_recall(real, fake)
    assert measured.precision == 1
    assert measured.recall == 1 / 200


def test_an_outlier_among_the_real_moves_precision_but_hardly_density():
    """Figure 3 of Naeem et al.: the huge ball of one outlier swallows every generated sample."""
    real = gaussian(400, 2, seed=0)
    outlier = torch.tensor([[0.0, 60.0]]).double()
    fake = gaussian(400, 2, seed=1) + torch.tensor([0, 30.0]).double()
    with_outlier = torch.cat([real, outlier])
    assert precision_recall(real, fake).precision == 0
    assert precision_recall(with_outlier, fake).precision > 0.9
    assert density_coverage(with_outlier, fake).density <= 0.2  # one ball of k = 5


def test_retrieval_finds_rows_within_k():
    gallery = torch.eye(4)
    queries = torch.tensor([[1, 0, 0, 0.0], [0.9, 1, 0, 0], [0.9, 1, 0, 0], [0, 0.1, 0.2, 0.3]])
    targets = torch.tensor([0, 1, 0, 1])  # ranks 1, 1, 2, 3
    figures = [retrieval_accuracy(queries, gallery, targets, k) for k in (1, 2, 3, 4)]
    assert figures == [0.5, 0.75, 1, 1]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 8))
def test_retrieval_equals_sorting(seed, k):
    queries, gallery = gaussian(10, 3, seed), gaussian(8, 3, seed + 1)
    targets = torch.randint(8, (10,), generator=torch.Generator().manual_seed(seed))
    order = [sorted(range(8), key=lambda row: float((query - gallery[row]).norm())) for query in queries]
    hits = sum(int(target) in order[row][:k] for row, target in enumerate(targets))
    assert retrieval_accuracy(queries, gallery, targets, k) == pytest.approx(hits / 10)


def test_features_that_say_nothing_retrieve_nothing():
    assert retrieval_accuracy(torch.ones(6, 3), torch.ones(20, 3), torch.zeros(6, dtype=torch.long), 5) == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: precision_recall(torch.zeros(3, 2), torch.zeros(9, 2), k=3), "first set is (3, 2)"),
        (lambda: density_coverage(torch.zeros(9, 2), torch.zeros(9, 2), k=0), "k is 0"),
        (lambda: retrieval_accuracy(torch.zeros(2, 2), torch.zeros(3, 2), torch.tensor([0, 3]), 1), "targets"),
        (lambda: retrieval_accuracy(torch.zeros(2, 2), torch.zeros(3, 2), torch.tensor([0, 1]), 4), "k is 4"),
    ],
)
def test_impossible_requests_are_refused(call, words):
    with pytest.raises(RequestError) as caught:
        call()
    assert words in str(caught.value)
