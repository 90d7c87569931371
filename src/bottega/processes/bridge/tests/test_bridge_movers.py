"""Bridges: movers, roll-outs and targets by hand, and fitting that reaches the closed form between two normals."""

import pytest
import torch

from bottega.errors import RequestError
from bottega.processes.bridge import (
    Gammas,
    GaussianBridge,
    Move,
    denoised_end,
    drift_to_normal,
    mover,
    original_targets,
    path_energy,
    roll_out,
    stay,
    targets,
    toward,
)
from bottega.processes.diffusion import DiscreteVp, Edm, GaussianMixture, RectifiedFlow, Vp

DOUBLE = torch.float64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_gammas_rise_and_fall():
    assert Gammas.linear(6, 0.1, 0.3).values == pytest.approx((0.1, 0.2, 0.3, 0.3, 0.2, 0.1))
    assert Gammas.constant(4).values == (5e-4,) * 4
    assert Gammas.constant(4, 0.25).variance == pytest.approx(2.0)
    for make in (
        lambda: Gammas.linear(5),
        lambda: Gammas((0.1, 0.2)),
        lambda: Gammas(()),
        lambda: Gammas((-1.0, -1.0)),
    ):
        with pytest.raises(RequestError):
            make()


@pytest.mark.parametrize("move", [Move.TERMINAL, Move.FLOW])
def test_right_networks_go_straight_to_the_end(move):
    start, end = torch.randn(5, 2, generator=generator(1)), torch.randn(5, 2, generator=generator(2))
    said = {Move.TERMINAL: lambda x, t: end, Move.FLOW: lambda x, t: end - start}[move]
    path = roll_out(mover(said, move, 4), start, Gammas.constant(4, 0.0))
    shares = torch.linspace(0, 1, 5).reshape(5, 1, 1)
    torch.testing.assert_close(path, (1 - shares) * start + shares * end)
    torch.testing.assert_close(roll_out(toward(end, 4), start, Gammas.constant(4, 0.0)), path)


@pytest.mark.parametrize("move", Move)
def test_targets_are_what_leads_back(move):
    """A network that says its targets retraces a roll-out (STATE) or heads for its start."""
    start, end = torch.randn(3, 2, generator=generator(1)), torch.randn(3, 2, generator=generator(2))
    path = roll_out(toward(end, 6), start, Gammas.constant(6, 0.02), generator())
    states, times, wanted = targets(path, move)
    assert states.shape == wanted.shape == (18, 2)
    known = {(int(t), row): wanted[i] for i, t in enumerate(times) for row in [i % 3]}
    assert len(known) == 18
    for i, t in enumerate(times.tolist()):
        assert torch.equal(states[i], path[6 - int(t)][i % 3])
    back = mover(lambda x, t: torch.stack([known[int(t[0]), row] for row in range(3)]), move, 6)
    arrived = roll_out(back, path[-1], Gammas.constant(6, 0.0))
    if move is Move.STATE:
        torch.testing.assert_close(arrived, path.flip(0))
    else:
        torch.testing.assert_close(back(path[1], 5), start)


def test_the_original_target_by_hand():
    def mean(x, t):
        return 0.5 * x + t

    path = torch.tensor([[[1.0]], [[3.0]], [[2.0]]])
    _, times, wanted = original_targets(path, mean)
    assert times.tolist() == [1, 0]
    assert wanted.flatten().tolist() == [3 + 0.5 - 1.5, 2 + (1.5 + 1) - (1 + 1)]


def test_noise_of_the_steps_adds_up_and_may_end_early():
    gammas = Gammas.linear(8, 0.01, 0.1)
    start = torch.zeros(60_000, 1)
    path = roll_out(stay, start, gammas, generator())
    assert path[-1].var().item() == pytest.approx(gammas.variance, rel=0.03)
    clean = roll_out(stay, start, gammas, generator(), last_noise=False)
    assert torch.equal(clean[-1], clean[-2])
    assert path_energy(path).mean().item() == pytest.approx(gammas.variance, rel=0.03)


def test_the_drift_leads_to_its_normal():
    gammas = Gammas.constant(400, 0.01)
    end = roll_out(drift_to_normal(gammas, 0.5, 2.0), torch.full((20_000, 1), 4.0), gammas, generator())[-1]
    assert end.mean().item() == pytest.approx(0.5 + 3.5 * (1 - 0.005) ** 400, abs=0.04)
    assert end.var().item() == pytest.approx(2.0 * (1 - (1 - 0.005) ** 800), rel=0.05)


@pytest.mark.parametrize(
    "path", [Vp(), DiscreteVp.linear(1000), Edm(), RectifiedFlow()], ids=lambda p: type(p).__name__
)
def test_whatever_denoises_is_a_first_mover(path):
    world = GaussianMixture(
        weights=torch.tensor([0.5, 0.5], dtype=DOUBLE), means=torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=DOUBLE),
        covariances=0.04 * torch.eye(2, dtype=DOUBLE).expand(2, 2, 2),
    )  # fmt: skip
    gammas = Gammas.constant(60, 1e-7)
    start = torch.randn(4000, 2, generator=generator(), dtype=DOUBLE)
    end = roll_out(denoised_end(world.denoiser(path), path, 60), start, gammas, generator())[-1]
    right = end[:, 0] > 0
    assert right.double().mean().item() == pytest.approx(0.5, abs=0.05)
    assert end[right].mean(0).tolist() == pytest.approx([1.0, 0.5], abs=0.06)
    assert end[~right].mean(0).tolist() == pytest.approx([-1.0, 0.0], abs=0.06)
    assert end[right].std(0).tolist() == pytest.approx([0.2, 0.2], abs=0.05)


class AffineWay:
    """The best affine mover of a roll-out's other direction, by least squares for each step: a network for normals."""

    def __init__(self, path, steps, wanted=None):
        states, times, simple = targets(path, Move.STATE)
        wanted = simple if wanted is None else wanted
        self.maps = []
        for t in range(steps):
            here = times == t
            x = torch.cat([states[here], torch.ones(int(here.sum()), 1, dtype=states.dtype)], dim=1)
            self.maps.append(torch.linalg.lstsq(x, wanted[here]).solution)

    def __call__(self, x, t):
        return torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1) @ self.maps[t]


BRIDGE = GaussianBridge(
    mean_start=torch.tensor([-1.0, 0.5], dtype=DOUBLE),
    mean_end=torch.tensor([1.0, 0.0], dtype=DOUBLE),
    cov_start=torch.tensor([[0.6, 0.3], [0.3, 0.4]], dtype=DOUBLE),
    cov_end=torch.tensor([[0.3, -0.2], [-0.2, 0.8]], dtype=DOUBLE),
    variance=0.8,
)


def normal(mean, cov, count, seed):
    return mean + torch.randn(count, 2, generator=generator(seed), dtype=DOUBLE) @ torch.linalg.cholesky(cov).T


@pytest.mark.parametrize("original", [False, True])
def test_fitting_reaches_the_closed_form_between_two_normals(original):
    steps, count = 40, 6000
    gammas = Gammas.constant(steps, BRIDGE.variance / (2 * steps))
    start = normal(BRIDGE.mean_start, BRIDGE.cov_start, count, 1)
    end = normal(BRIDGE.mean_end, BRIDGE.cov_end, count, 2)
    path, last = roll_out(stay, start, gammas, generator(3)), stay
    for epoch in range(8):
        taught = original_targets(path, last)[2] if original else None
        last = AffineWay(path, steps, taught)
        path = roll_out(last, (start, end)[(epoch + 1) % 2], gammas, generator(10 + epoch))
    assert torch.equal(path[0], start)  # the last roll-out runs from the start to the end
    for place in (0.25, 0.5, 0.75, 1.0):
        mean, cov = BRIDGE.marginal(place)
        states = path[round(place * steps)]
        torch.testing.assert_close(states.mean(0), mean, rtol=0, atol=0.06)
        torch.testing.assert_close(torch.cov(states.T), cov, rtol=0, atol=0.08)
    cross = (path[0] - path[0].mean(0)).T @ (path[-1] - path[-1].mean(0)) / count
    torch.testing.assert_close(cross, BRIDGE.coupling, rtol=0, atol=0.06)
    assert cross.abs().max() > 0.2  # far from the independent coupling


def test_the_closed_form_has_its_limits():
    noisy = GaussianBridge(
        mean_start=BRIDGE.mean_start, mean_end=BRIDGE.mean_end, cov_start=BRIDGE.cov_start, cov_end=BRIDGE.cov_end,
        variance=1e4,
    )  # fmt: skip
    assert noisy.coupling.abs().max() < 1e-3  # much noise: the ends are independent
    scale = GaussianBridge(
        mean_start=BRIDGE.mean_start, mean_end=BRIDGE.mean_end, cov_start=BRIDGE.cov_start,
        cov_end=4 * BRIDGE.cov_start, variance=1e-9,
    )  # fmt: skip
    torch.testing.assert_close(
        scale.coupling, 2 * BRIDGE.cov_start, rtol=1e-6, atol=1e-6
    )  # no noise: optimal transport
    torch.testing.assert_close(BRIDGE.marginal(1.0)[1], BRIDGE.cov_end)
    with pytest.raises(RequestError, match="variance"):
        GaussianBridge(
            mean_start=BRIDGE.mean_start, mean_end=BRIDGE.mean_end, cov_start=BRIDGE.cov_start, cov_end=BRIDGE.cov_end,
            variance=0.0,
        )  # fmt: skip
