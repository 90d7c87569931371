"""Labels by denoising error: exact on Gaussians, whose posterior is known."""

from __future__ import annotations

import pytest
import torch

from bottega.errors import RequestError
from bottega.processes.diffusion import (
    DiscreteVp,
    Round,
    Vp,
    elimination,
    label_errors,
    select_rows,
    total_calls,
)
from bottega.processes.diffusion.predictions import coefficients_like

PATHS = (Vp(), DiscreteVp.linear())
MEANS = torch.tensor([[-1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [2.0, 2.0]])
SPREAD = 0.3


def exact(path):
    """The denoiser of a normal around the mean that the condition holds."""

    def denoiser(x, t, cond):
        alpha, sigma = coefficients_like(x, t, path)
        gain = alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2)
        return cond + gain * (x - alpha * cond)

    return denoiser


def found(path, state, rounds, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return label_errors(exact(path), state, MEANS, rounds, path=path, generator=generator)


@pytest.mark.parametrize("path", PATHS)
def test_the_nearest_normal_wins_and_errors_are_ordered_by_density(path):
    right = 0
    for number in range(40):
        generator = torch.Generator().manual_seed(number)
        label = number % len(MEANS)
        state = MEANS[label] + SPREAD * torch.randn(2, generator=generator)
        nearest = int((MEANS - state).square().sum(1).argmin())
        right += found(path, state, (Round(64, 1),), number).best == nearest
    assert right >= 39


def test_shared_noise_makes_gaps_far_surer_than_errors():
    result = found(PATHS[0], torch.tensor([0.9, 0.1]), (Round(64, 5),))
    assert result.best == 2
    gap, error = result.gap(4, 2)
    single = float(result.errors[4].std() / 64**0.5)
    assert gap > 3 * error > 0
    independent = (single**2 + float(result.errors[2].std() / 64**0.5) ** 2) ** 0.5
    close_gap, close_error = result.gap(1, 2)
    assert close_gap > 0
    assert close_error < independent


def test_elimination_finds_the_same_label_with_fewer_calls():
    state = torch.tensor([0.8, -0.2])
    rounds = (Round(8, 3), Round(16, 2), Round(64, 1))
    few, every = found(PATHS[0], state, rounds), found(PATHS[0], state, (Round(64, 1),))
    assert few.best == every.best == 2
    assert few.calls == total_calls(5, rounds) == 5 * 8 + 3 * 8 + 2 * 48
    assert every.calls == 5 * 64
    kept = ~few.errors.isnan()
    assert torch.equal(few.errors[kept], every.errors[kept])  # the same times and noise, whoever is left
    assert sorted(kept.sum(1).tolist()) == [8, 8, 16, 64, 64]
    assert few.ranking[0] == few.best
    assert len(set(few.ranking)) == 5


def test_labels_that_say_the_same_tie_exactly():
    same = MEANS[:1].repeat(3, 1)
    generator = torch.Generator().manual_seed(0)
    result = label_errors(exact(PATHS[0]), MEANS[0], same, (Round(16, 1),), path=PATHS[0], generator=generator)
    assert result.gap(0, 2) == (0.0, 0.0)
    torch.testing.assert_close(result.probabilities(2), torch.full((3,), 1 / 3, dtype=torch.float64))


def test_every_beginning_of_the_draws_covers_the_path():
    result_times = []

    def spy(x, t, cond):
        result_times.append(t)
        return x

    label_errors(spy, torch.zeros(2), MEANS[:1], (Round(32, 1),), path=PATHS[0], generator=torch.Generator())
    times = torch.cat(result_times)
    assert len(times.unique()) == 32
    assert times[:8].max() > 0.8
    assert times[:8].min() < 0.2


def test_reports_count_up_to_the_total():
    seen = []
    rounds = elimination(5, 8)
    label_errors(
        exact(PATHS[0]), MEANS[0], MEANS, rounds, path=PATHS[0], generator=torch.Generator(),
        report=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen[-1] == (total_calls(5, rounds),) * 2
    assert all(a[0] < b[0] for a, b in zip(seen, seen[1:], strict=False))


def test_rounds_shrink_to_one():
    plan = elimination(99, 24)
    assert [each.draws for each in plan] == [6, 12, 24]
    assert [each.keep for each in plan] == [22, 5, 1]
    assert elimination(2, 4, rounds=1) == (Round(4, 1),)
    assert elimination(1, 2)[-1] == Round(2, 1)
    assert all(a.draws < b.draws for a, b in zip(elimination(3, 1), elimination(3, 1)[1:], strict=False))
    with pytest.raises(RequestError, match="draws"):
        elimination(3, 0)


def test_rows_of_any_condition():
    rows = torch.tensor([2, 0])
    cond = {"a": (torch.arange(3), [torch.arange(6).reshape(3, 2)])}
    assert select_rows(cond, rows)["a"][0].tolist() == [2, 0]
    assert select_rows(cond, rows)["a"][1][0].tolist() == [[4, 5], [0, 1]]
    with pytest.raises(RequestError, match="conditions"):
        label_errors(exact(PATHS[0]), MEANS[0], None, (Round(1, 1),), path=PATHS[0], generator=torch.Generator())
