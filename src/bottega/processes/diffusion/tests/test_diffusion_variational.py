"""The variational bound: exact on data whose best predictor and entropy are known; learned schedules."""

import math

import pytest
import torch
import torch.nn.functional as F

from bottega.errors import RequestError
from bottega.processes.diffusion import (
    Ddpm,
    Denoised,
    Epsilon,
    LearnedVp,
    PlainBound,
    Schedule,
    SigmoidBound,
    bits_per_dim,
    diffusion_nats,
    from_levels,
    level_logits,
    prior_nats,
    reconstruction_nats,
    to_levels,
)

STD = 0.3
WEIGHTS = torch.softmax(-0.5 * (from_levels(torch.arange(256)).double() / STD) ** 2, 0)
"""A normal of 256 levels."""
ENTROPY_BITS = float(-(WEIGHTS * WEIGHTS.log2()).sum())
COUNT = 1 << 14


def data(count):
    return torch.multinomial(WEIGHTS, count, replacement=True, generator=torch.Generator().manual_seed(0)).reshape(
        -1, 1
    )


def best_noise(z, gamma):
    """The noise in a noisy level: (z - alpha E[x | z]) / sigma."""
    alpha, sigma = torch.sigmoid(-gamma).sqrt()[:, None], torch.sigmoid(gamma).sqrt()[:, None]
    logits = level_logits((z / alpha)[:, 0], (sigma / alpha)) + WEIGHTS.log()
    mean = torch.softmax(logits, -1) @ from_levels(torch.arange(256)).double()
    return (z - alpha * mean[:, None].to(z.dtype)) / sigma


def normal_noise(z, gamma):
    """The noise in a noisy normal sample."""
    alpha, sigma = torch.sigmoid(-gamma).sqrt()[:, None], torch.sigmoid(gamma).sqrt()[:, None]
    return sigma * z / (alpha**2 * STD**2 + sigma**2)


def shaped(seed, low=-13.3, high=5.0):
    """A schedule with a crooked interior."""
    torch.manual_seed(seed)
    schedule = Schedule(low, high, features=64)
    with torch.no_grad():
        for parameter in schedule.interior.parameters():
            parameter.mul_(1 + 3 * torch.rand(parameter.shape))
    return schedule


def stratified(count, seed):
    generator = torch.Generator().manual_seed(seed)
    t = (torch.rand((), generator=generator) + torch.arange(count) / count) % 1.0
    return t[torch.randperm(count, generator=generator)], torch.randn(count, 1, generator=generator)


@torch.no_grad()
def bits(schedule, predict, count=COUNT, **options):
    """Total bits for each number, by an even (Sobol) cover of times, levels and noises."""
    u = torch.quasirandom.SobolEngine(4, scramble=True, seed=0).draw(count, dtype=torch.float64)
    u = u.clamp(1e-9, 1 - 1e-9)
    levels = torch.searchsorted(WEIGHTS.cumsum(0), u[:, 1:2].contiguous()).clamp(max=255)
    x, noise, other = from_levels(levels), *torch.special.ndtri(u[:, 2:]).float().split(1, 1)
    parts = diffusion_nats(predict, x, u[:, 0].float(), noise, schedule, **options)
    total = parts + prior_nats(x, schedule) + reconstruction_nats(levels, other, schedule)
    return bits_per_dim(total.mean(), 1).item()


def test_bits_of_a_normal_are_its_entropy():
    found = bits(Schedule(features=0), best_noise, count=1 << 16)
    assert found == pytest.approx(ENTROPY_BITS, abs=0.02)
    assert bits(Schedule(features=0), lambda z, gamma: 0.8 * best_noise(z, gamma)) > found + 0.05


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_interior_leaves_the_continuous_bound_alone(seed):
    straight, crooked = (bits(schedule, normal_noise) for schedule in (Schedule(features=0), shaped(seed)))
    assert crooked == pytest.approx(straight, abs=0.02)


def test_the_ends_do_not():
    straight, short = (bits(Schedule(-13.3, high, features=0), normal_noise) for high in (5.0, 0.0))
    assert short > straight + 0.05


def test_more_steps_tighten_the_discrete_bound_to_the_continuous_one():
    limit = bits(Schedule(features=0), normal_noise)
    few, many, most = (bits(Schedule(features=0), normal_noise, steps=steps) for steps in (10, 100, 3000))
    assert few > many > most > limit - 0.02
    assert most == pytest.approx(limit, abs=0.03)


def test_training_the_interior_lowers_the_variance_and_keeps_the_mean():
    torch.manual_seed(3)
    schedule = Schedule(features=32, learn_ends=False)
    x = from_levels(data(4000))

    def sample(seed, **options):
        t, noise = torch.rand(4000, generator=torch.Generator().manual_seed(seed)), stratified(4000, seed)[1]
        return diffusion_nats(normal_noise, x, t, noise, schedule, **options)

    with torch.no_grad():
        before = sample(7)
    optimizer = torch.optim.Adam(schedule.parameters(), lr=0.05)
    for step in range(60):
        optimizer.zero_grad()
        sample(100 + step).mean().backward()
        optimizer.step()
    with torch.no_grad():
        after = sample(7)
    assert after.var() < 0.8 * before.var()
    assert after.mean().item() == pytest.approx(before.mean().item(), abs=4 * (before.std() / 63).item())


def test_the_interior_gets_the_gradient_of_the_variance_and_the_rest_that_of_the_bound():
    schedule, x = shaped(0), from_levels(data(64))
    t, noise = stratified(64, 0)
    scale = torch.nn.Parameter(torch.tensor(0.9))

    def loss(**options):
        return diffusion_nats(lambda z, gamma: scale * normal_noise(z, gamma), x, t, noise, schedule, **options)

    interior, rest = list(schedule.interior.parameters()), [schedule.ends, scale]
    loss().mean().backward()
    plain = loss(least_variance=False)
    expected_rest = torch.autograd.grad(plain.mean(), rest, retain_graph=True)
    expected = torch.autograd.grad(plain.square().mean() / (2 * plain.mean().detach()), interior)
    for parameter, gradient in zip([*rest, *interior], [*expected_rest, *expected], strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("features", [0, 1024])
def test_gamma_rises_from_end_to_end_and_its_slope_is_its_derivative(features):
    torch.manual_seed(0)
    schedule = Schedule(-10.0, 4.0, features=features)
    if schedule.interior is not None:
        with torch.no_grad():
            for parameter in schedule.interior.parameters():
                parameter.normal_()  # weights of either sign
    t = torch.linspace(0, 1, 400, dtype=torch.float64, requires_grad=True)
    gamma, slope = schedule(t)
    assert (gamma.diff() > 0).all()
    torch.testing.assert_close(gamma[[0, -1]], torch.tensor([-10.0, 4.0]).double())
    (derivative,) = torch.autograd.grad(gamma.sum(), t)
    torch.testing.assert_close(slope, derivative)


def test_a_learned_path_is_a_path():
    path = LearnedVp(shaped(4))
    t = torch.tensor([0.0, 0.2, 0.7, 1.0], dtype=torch.float64)
    torch.testing.assert_close(path.alpha(t) ** 2 + path.sigma(t) ** 2, torch.ones(4).double())
    torch.testing.assert_close(path.log_snr(t), 2 * (path.alpha(t) / path.sigma(t)).log())
    torch.testing.assert_close(path.time_of_log_snr(path.log_snr(t)), t, rtol=0, atol=1e-9)
    assert [path.alpha(0.2), path.sigma(0.2)] == pytest.approx([path.alpha(t)[1].item(), path.sigma(t)[1].item()])
    assert (path.alpha(path.t_clean), path.sigma(path.t_clean)) == (1.0, 0.0)
    assert path.sigma(path.t_clean / 2) < path.sigma(0.0)


def test_ancestral_sampling_on_a_learned_path_gives_the_data():
    path = LearnedVp(Schedule(features=0))

    def network(z, t, cond):
        return normal_noise(z, path.gamma(t).float())

    generator = torch.Generator().manual_seed(0)
    times = (*(1 - i / 400 for i in range(401)), path.t_clean)
    x = Ddpm()(
        Denoised(network, path, Epsilon()), torch.randn(8000, 1, generator=generator), times, path, generator=generator
    )
    assert x.std().item() == pytest.approx(STD, rel=0.03)
    assert x.mean().item() == pytest.approx(0, abs=0.02)


def test_levels_are_the_middles_of_equal_parts():
    levels = torch.arange(256)
    assert torch.equal(to_levels(from_levels(levels)), levels)
    assert from_levels(levels)[[0, 255]].tolist() == [-1 + 1 / 256, 1 - 1 / 256]
    certain = reconstruction_nats(levels.reshape(1, -1), torch.zeros(1, 256), Schedule(-16.0, 5.0, features=0))
    lost = reconstruction_nats(levels.reshape(1, -1), torch.zeros(1, 256), Schedule(30.0, 31.0, features=0))
    assert certain.item() < 1e-3
    assert lost.item() == pytest.approx(256 * math.log(256), rel=1e-3)


def test_weights_of_the_noise_levels():
    gamma = torch.linspace(-13, 5, 50)
    rising = SigmoidBound()(gamma)
    assert (rising.diff() > 0).all()
    torch.testing.assert_close(rising, F.sigmoid(2 + gamma))
    assert (PlainBound()(gamma) == 1).all()
    x, (t, noise) = from_levels(data(64)), stratified(64, 0)
    schedule = Schedule(features=0)
    with torch.no_grad():
        weighted = diffusion_nats(normal_noise, x, t, noise, schedule, weight=SigmoidBound())
        plain = diffusion_nats(normal_noise, x, t, noise, schedule)
        torch.testing.assert_close(weighted, plain * SigmoidBound()(schedule(t)[0]))


def test_ends_in_the_wrong_order_are_refused():
    with pytest.raises(RequestError, match="low"):
        Schedule(5.0, -13.3)


def test_a_learned_path_knows_its_own_equation():
    path = LearnedVp(Schedule(-8.0, 4.0, features=16))
    t = torch.linspace(0.9 * path.t_clean, 1.0, 50, dtype=torch.float64)
    step = 1e-7
    slope = (path.alpha(t + step).log() - path.alpha(t - step).log()) / (2 * step)
    inside = (t + step < 1.0) & (t.abs() > step)  # the slope jumps at 0 and ends at 1
    torch.testing.assert_close(path.drift(t)[inside], slope[inside], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(path.diffusion_squared(t), -2 * path.drift(t))
    assert 0 < path.diffusion_squared(path.t_clean) < float("inf")
