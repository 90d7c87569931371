"""Langevin dynamics and NCSNv2's rules: right stationary law, the authors' step, the published configurations."""

from __future__ import annotations

import math

import pytest
import torch

from bottega.errors import RequestError
from bottega.processes.diffusion import (
    AnnealedLangevin,
    ClassifierFree,
    Denoised,
    DiscreteVp,
    Edm,
    Epsilon,
    GaussianMixture,
    LogSnrGrid,
    NoiseLevels,
    RectifiedFlow,
    Score,
    Vp,
    geometric_levels,
    initial_noise,
    langevin_dynamics,
    langevin_step,
    langevin_step_size,
    langevin_variance_ratio,
    largest_distance,
    level_count,
    level_overlap,
    level_ratio,
    ncsnv2_levels,
)

PUBLISHED = {  # side, sigma_begin, num_classes, n_steps_each, step_lr of the authors' configs
    "cifar10": (32, 50, 232, 5, 6.2e-6),
    "celeba": (64, 90, 500, 5, 3.3e-6),
    "bedroom": (128, 190, 1086, 3, 1.8e-6),
    "ffhq": (256, 348, 2311, 3, 9e-7),
}


def weight_of_the_large_mode(x):
    return float((x.sum(1) > 0).double().mean())


# ------------------------------------------------------------------------------------------------------------ dynamics
def test_plain_dynamics_reach_a_gaussian():
    generator, mean = torch.Generator().manual_seed(0), torch.tensor([1.0, -2.0], dtype=torch.float64)
    x = torch.zeros(8000, 2, dtype=torch.float64)
    seen = []
    x = langevin_dynamics(
        lambda y: -(y - mean) / 0.25,
        x,
        step=0.01,
        steps=150,
        generator=generator,
        report=lambda i, n, _: seen.append((i, n)),
    )
    torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=0.03)
    settled = 0.25 * 2 / (2 - 0.01 / 0.25)  # the law of the chain with this step, a little wider than the target
    torch.testing.assert_close(x.var(0), torch.full((2,), settled, dtype=torch.float64), rtol=0.06, atol=0)
    assert seen[-1] == (150, 150)
    with pytest.raises(RequestError, match="step"):
        langevin_dynamics(torch.sin, x, step=0.0, steps=1)


def test_a_plan_is_the_authors_loop():
    """`anneal_Langevin_dynamics` of ermongroup/ncsnv2, written out, with the same noise."""
    sigmas, step, repeats = geometric_levels(3.0, 0.1, 6), 2e-3, 4
    mixture = GaussianMixture.isotropic([0.3, 0.7], [[0.5, 0.1], [-0.4, 0.2]], [0.2, 0.3])
    start = torch.randn(5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    path = Edm(sigma_min=0.1, sigma_max=3.0)
    got = AnnealedLangevin(step=step, steps_per_level=repeats)(
        mixture.denoiser(path), start, (*sigmas, 0.0), path, generator=torch.Generator().manual_seed(2)
    )
    x, generator = start, torch.Generator().manual_seed(2)
    for sigma in sigmas:
        blurred, rate = mixture.at(sigma, path), step * (sigma / sigmas[-1]) ** 2
        for _ in range(repeats):
            noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            by_hand = x + rate * blurred.score(x) + math.sqrt(2 * rate) * noise
            torch.testing.assert_close(langevin_step(x, blurred.score(x), rate, noise), by_hand)
            x = by_hand
    x = x + sigmas[-1] ** 2 * mixture.at(sigmas[-1], path).score(x)
    torch.testing.assert_close(got, x)


def test_annealed_finds_the_weights_and_plain_does_not():
    """The failure and the cure of arXiv:1907.05600, sections 3.2.2 and 4.3, with the exact score."""
    mixture, generator = GaussianMixture.two_modes(), torch.Generator().manual_seed(0)
    start = 16.0 * torch.rand((3000, 2), generator=generator, dtype=torch.float64) - 8.0
    plain = langevin_dynamics(mixture.score, start, step=0.05, steps=500, generator=generator)
    path = Edm(sigma_min=0.05, sigma_max=20.0)
    sigmas = geometric_levels(20.0, 0.05, 10)
    annealed = AnnealedLangevin(step=0.05**2 * 0.2, steps_per_level=50)(
        mixture.denoiser(path), start, (*sigmas, 0.0), path, generator=generator
    )
    error = math.sqrt(0.8 * 0.2 / 3000)
    assert abs(weight_of_the_large_mode(plain) - 0.5) < 0.06
    assert abs(weight_of_the_large_mode(annealed) - 0.8) < 4 * error
    near = annealed[annealed.sum(1) > 0]
    torch.testing.assert_close(near.mean(0), torch.full((2,), 5.0, dtype=torch.float64), rtol=0, atol=0.15)
    torch.testing.assert_close(near.var(0), torch.ones(2, dtype=torch.float64), rtol=0.2, atol=0)


@pytest.mark.parametrize("path", [Edm(), Vp(), DiscreteVp.linear(), RectifiedFlow(t_min=0.002, t_max=0.998)])
def test_it_runs_on_every_path(path):
    mixture = GaussianMixture.isotropic([0.8, 0.2], [[1.0, 1.0], [-1.0, -1.0]], [0.3, 0.3])
    generator, times = torch.Generator().manual_seed(0), LogSnrGrid(16)(path)
    if path.alpha(times[0]) == 0.0:
        times = (path.t_max, *times[1:])
    x = initial_noise((1500, 2), times[0], path, generator=generator, dtype=torch.float64)
    last = path.sigma(times[-2]) / path.alpha(times[-2])
    solver = AnnealedLangevin(step=0.2 * last**2, steps_per_level=50)
    made = solver(mixture.denoiser(path), x, times, path, generator=generator)
    assert abs(weight_of_the_large_mode(made) - 0.8) < 0.06
    plain_std = float(made[made.sum(1) > 0].std(0).mean())
    assert 0.2 < plain_std < 0.4


def test_another_path_is_the_same_chain_scaled():
    """In y = x / alpha, with the same noise, VP's chain is the variance-exploding one, number by number."""
    mixture, vp = GaussianMixture.isotropic([0.3, 0.7], [[0.5, 0.1], [-0.4, 0.2]], [0.2, 0.3]), Vp()
    times = (0.8, 0.5, 0.2, 0.05)
    sigmas = tuple(vp.sigma(t) / vp.alpha(t) for t in times)
    edm = Edm(sigma_min=sigmas[-1], sigma_max=sigmas[0])
    start = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for denoise in (True, False):
        solver = AnnealedLangevin(step=0.3 * sigmas[-1] ** 2, steps_per_level=3, denoise=denoise)
        scaled, plain = (
            solver(mixture.denoiser(path), x, (*levels, 0.0), path, generator=torch.Generator().manual_seed(1))
            for path, x, levels in ((vp, vp.alpha(times[0]) * start, times), (edm, start, sigmas))
        )
        torch.testing.assert_close(scaled, plain, rtol=1e-9, atol=1e-9)


def test_it_takes_every_prediction_and_guidance():
    mixture, path = GaussianMixture.two_modes(), Edm(sigma_min=0.05, sigma_max=20.0)
    exact = mixture.denoiser(path)
    sigmas = (*geometric_levels(20.0, 0.05, 4), 0.0)
    solver, start = AnnealedLangevin(step=3e-4, steps_per_level=2), torch.ones(3, 2, dtype=torch.float64)

    def made(denoiser):
        return solver(denoiser, start, sigmas, path, generator=torch.Generator().manual_seed(0))

    expected = made(exact)
    for prediction in (Score(), Epsilon()):

        def network(x, t, cond, prediction=prediction):
            sigma = t.double()[:, None]
            return prediction.from_x0(exact(x, t.double()), x, torch.ones_like(sigma), sigma)

        got = made(Denoised(network, path, prediction))
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    guided = ClassifierFree(scale=3.0, null_cond=None, batched=False)(exact)
    torch.testing.assert_close(made(guided), expected)  # no condition: guidance changes nothing


def test_the_last_denoising_step_takes_the_noise_away():
    mixture, path = GaussianMixture.isotropic([1.0], [[0.0, 0.0]], [1e-3]), Edm(sigma_min=0.1, sigma_max=2.0)
    times, start = (*geometric_levels(2.0, 0.1, 5), 0.0), torch.ones(500, 2, dtype=torch.float64)
    noisy, clean = (
        AnnealedLangevin(step=2e-3, steps_per_level=20, denoise=way)(
            mixture.denoiser(path), start, times, path, generator=torch.Generator().manual_seed(0)
        )
        for way in (False, True)
    )
    assert 0.08 < float(noisy.std()) < 0.13
    assert float(clean.std()) < 2e-3


def test_bad_plans_are_refused():
    path = Edm()
    with pytest.raises(RequestError, match="times"):
        AnnealedLangevin(step=1e-5, steps_per_level=1).plan((0.1, 1.0, 0.0), path)
    with pytest.raises(RequestError, match="at most"):
        AnnealedLangevin(step=1.0, steps_per_level=1).plan((1.0, 0.1, 0.0), path)
    with pytest.raises(RequestError, match="signal"):
        AnnealedLangevin(step=1e-5, steps_per_level=1).plan((1.0, 0.5, 0.0), RectifiedFlow())
    for bad in ({"step": 0.0, "steps_per_level": 1}, {"step": 1.0, "steps_per_level": 0}):
        with pytest.raises(RequestError):
            AnnealedLangevin(**bad)


# --------------------------------------------------------------------------------------------------------------- rules
def test_the_published_cifar_configuration_is_reproduced():
    """The figures of the spec: gamma 1.0376, overlap 0.567, variance ratio 1.055; and the step size that was chosen."""
    levels = NoiseLevels(first=50.0, last=0.01, count=232, step=6.2e-6, steps_per_level=5)
    assert round(levels.ratio, 4) == 1.0376
    assert round(level_overlap(levels.ratio, 3072), 3) == 0.567
    assert round(langevin_variance_ratio(levels.step, levels.ratio, levels.last, 5), 3) == 1.055


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_rules_come_near_every_published_configuration(name):
    side, first, count, repeats, step = PUBLISHED[name]
    ratio = (first / 0.01) ** (1 / (count - 1))
    assert abs(level_overlap(ratio, 3 * side * side) - 0.567) < 0.001
    assert abs(level_count(first, 0.01, level_ratio(3 * side * side, 0.567)) - count) <= 0.002 * count
    assert abs(level_count(first, 0.01, level_ratio(3 * side * side)) - count) <= 0.06 * count
    assert langevin_step_size(ratio, 0.01, repeats) == pytest.approx(step, rel=0.02)


def test_the_step_size_is_the_best_of_a_grid():
    for ratio, repeats in ((1.04, 5), (1.6, 1), (1.6, 100), (1.01, 3)):
        step = langevin_step_size(ratio, 0.02, repeats)
        best = min(
            (i / 4000 * 0.02**2 for i in range(1, 4001)),
            key=lambda e: abs(langevin_variance_ratio(e, ratio, 0.02, repeats) - 1),
        )
        measure = [abs(langevin_variance_ratio(e, ratio, 0.02, repeats) - 1) for e in (step, best)]
        assert measure[0] <= measure[1] + 1e-6


def test_the_variance_ratio_is_that_of_a_chain():
    """Proposition 3 on a point mass: start at the level before, take T steps, measure."""
    generator, last, ratio, repeats, step = torch.Generator().manual_seed(0), 0.5, 1.3, 4, 0.05
    x = ratio * last * torch.randn(200_000, 1, generator=generator, dtype=torch.float64)
    x = langevin_dynamics(lambda y: -y / last**2, x, step=step, steps=repeats, generator=generator)
    expected = langevin_variance_ratio(step, ratio, last, repeats)
    assert float(x.var()) / last**2 == pytest.approx(expected, rel=0.02)


def test_levels_of_a_data_set():
    data = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    levels = ncsnv2_levels(data, steps_per_level=3)
    assert levels.first == pytest.approx(float(torch.pdist(data.flatten(1).double()).max()))
    assert levels.sigmas()[0] == levels.first
    assert levels.sigmas()[-1] == pytest.approx(0.01)
    assert level_overlap(levels.ratio, 192) == pytest.approx(0.5, abs=0.02)
    assert levels.ema_decay == 0.999


def test_what_cannot_be_worked_out_is_refused():
    with pytest.raises(RequestError, match="two samples"):
        largest_distance(torch.zeros(1, 4))
    with pytest.raises(RequestError, match="dimension"):
        level_ratio(2)
    with pytest.raises(RequestError, match="first"):
        NoiseLevels(first=0.1, last=1.0, count=3, step=1e-3, steps_per_level=1)
    with pytest.raises(RequestError, match="count"):
        NoiseLevels(first=1.0, last=0.1, count=1, step=1e-3, steps_per_level=1)
