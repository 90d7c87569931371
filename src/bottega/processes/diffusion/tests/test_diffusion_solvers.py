"""Solvers apart from parity: statistics, inversion, churn, dtypes, reports, and safety of tensors."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from bottega.errors import Cancelled, RequestError
from bottega.processes.diffusion import (
    X0,
    Churn,
    CosineVp,
    Ddim,
    DdimInversion,
    Ddpm,
    Denoised,
    DiscreteVp,
    DpmSolverPp2m,
    Edm,
    EdmGrid,
    Epsilon,
    Euler,
    Heun,
    Path,
    RectifiedFlow,
    Solver,
    TrailingGrid,
    UniformGrid,
    V,
    Velocity,
    Vp,
    initial_noise,
)

EVERY_SOLVER = [Ddim(), Ddim(eta=1.0), Ddpm(), Ddpm(large_variance=True), Euler(), Heun(), DpmSolverPp2m()]
EVERY_PATH = [DiscreteVp.scaled_linear(), DiscreteVp.cosine(), Vp(), CosineVp(), Edm(), RectifiedFlow()]
every_solver = pytest.mark.parametrize("solver", EVERY_SOLVER, ids=repr)
every_path = pytest.mark.parametrize("path", EVERY_PATH, ids=lambda path: type(path).__name__)


def smooth_network(x: Tensor, t: Tensor, cond: object = None) -> Tensor:
    return 0.8 * torch.tanh(x.roll(1, -1) - 0.3 * x)


class Gaussian:
    """The exact denoiser of data N(mean, std^2)."""

    def __init__(self, path: Path, mean: float, std: float) -> None:
        self.path, self.mean, self.std = path, mean, std

    def __call__(self, x_t: Tensor, t: float, cond: object = None) -> Tensor:
        alpha, sigma = self.path.alpha(t), self.path.sigma(t)
        gain = alpha * self.std**2 / ((alpha * self.std) ** 2 + sigma**2)
        return self.mean + gain * (x_t - alpha * self.mean)


@pytest.mark.parametrize(
    "solver",
    [Ddpm(), Ddpm(large_variance=True), Ddim(eta=1.0), Ddim(eta=0.5), Heun(churn=Churn(amount=20.0))],
    ids=repr,
)
@every_path
def test_stochastic_samples_have_the_data_s_mean_and_variance(path: Path, solver: Solver):
    generator = torch.Generator().manual_seed(1)
    times = (EdmGrid(150) if isinstance(path, Edm) else UniformGrid(250))(path)
    start = initial_noise((20000, 1), times[0], path, generator=generator, dtype=torch.float64)
    samples = solver(Gaussian(path, mean=0.7, std=0.4), start, times, path, generator=generator)
    assert samples.mean().item() == pytest.approx(0.7, abs=0.03)
    assert samples.std().item() == pytest.approx(0.4, abs=0.02)


def test_ancestral_ddim_is_ddpm():
    path = DiscreteVp.linear()
    times = TrailingGrid(25)(path)
    for one, other in zip(Ddim(eta=1.0).plan(times, path), Ddpm().plan(times, path), strict=True):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-12)


@every_path
def test_euler_without_churn_is_ddim(path: Path):
    times = UniformGrid(12)(path)
    for one, other in zip(Euler().plan(times, path), Ddim().plan(times, path), strict=True):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("prediction", [Epsilon(), V()], ids=repr)
def test_inversion_returns_to_the_sample(prediction):
    """The round trip's error falls like 1 / steps, and is small at the end."""
    path = DiscreteVp.scaled_linear()
    denoiser = Denoised(smooth_network, path, prediction)
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    errors = []
    for steps in (50, 250):
        times = (path.t_min, *TrailingGrid(steps)(path)[-3::-1])
        noise = DdimInversion()(denoiser, x, times, path)
        back = Ddim()(denoiser, noise, times[::-1], path)
        errors.append((back - x).norm().item() / x.norm().item())
    assert errors[1] < 0.06
    assert errors[1] < 0.35 * errors[0]


def reference_heun_with_churn(denoiser, x: Tensor, levels, churn: Churn, generator: torch.Generator) -> Tensor:
    """Algorithm 2 of arXiv:2206.00364, line by line, for alpha = 1."""
    for level, following in pairwise(levels):
        gamma = min(churn.amount / (len(levels) - 1), math.sqrt(2) - 1) if churn.low <= level <= churn.high else 0.0
        raised = level + gamma * level
        if gamma > 0:
            noise = churn.noise * torch.randn(x.shape, generator=generator, dtype=x.dtype)
            x = x + math.sqrt(raised**2 - level**2) * noise
        slope = (x - denoiser(x, raised, None)) / raised
        ahead = x + (following - raised) * slope
        if following > 0:
            second = (ahead - denoiser(ahead, following, None)) / following
            ahead = x + (following - raised) * (slope + second) / 2
        x = ahead
    return x


def test_churn_is_the_paper_s_algorithm():
    path = Edm()
    times = EdmGrid(18)(path)
    churn = Churn(amount=6.0, low=0.05, high=50.0, noise=1.003)
    denoiser = Denoised(smooth_network, path, X0())
    start = initial_noise((3, 6), times[0], path, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    ours = Heun(churn=churn)(denoiser, start, times, path, generator=torch.Generator().manual_seed(9))
    theirs = reference_heun_with_churn(denoiser, start, times, churn, torch.Generator().manual_seed(9))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_a_flow_may_start_from_pure_noise():
    path = RectifiedFlow()
    denoiser = Denoised(smooth_network, path, Velocity())
    for solver in EVERY_SOLVER:
        out = solver(denoiser, torch.ones(2, 4), UniformGrid(6)(path), path, generator=torch.Generator().manual_seed(0))
        assert bool(out.isfinite().all()), solver


@every_solver
def test_half_precision_follows_full_precision(solver: Solver):
    path = DiscreteVp.scaled_linear()
    times = TrailingGrid(20)(path)
    seen = set()

    def network(x: Tensor, t: Tensor, cond: object = None) -> Tensor:
        seen.add(x.dtype)
        return smooth_network(x, t)

    start = initial_noise((64, 16), times[0], path, generator=torch.Generator().manual_seed(1))
    full = solver(Denoised(smooth_network, path, V()), start, times, path, generator=torch.Generator().manual_seed(3))
    half = solver(
        Denoised(network, path, V()), start.bfloat16(), times, path, generator=torch.Generator().manual_seed(3)
    )
    assert half.dtype == torch.bfloat16
    assert seen == {torch.bfloat16}
    assert (half.float() - full).norm() / full.norm() < 0.02


@every_solver
def test_reports_come_in_order_and_stop_the_work(solver: Solver):
    path = DiscreteVp.linear()
    calls, steps = 0, []

    def denoiser(x: Tensor, t: object, cond: object = None) -> Tensor:
        nonlocal calls
        calls += 1
        return 0.5 * x

    def stop_at_three(step: int, total: int, x_t: Tensor, x0: Tensor) -> None:
        assert total == 10
        assert x_t.shape == x0.shape == (2, 3)
        steps.append(step)
        if step == 3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        solver(denoiser, torch.ones(2, 3), TrailingGrid(10)(path), path, report=stop_at_three)
    assert steps == [1, 2, 3]
    assert calls == (6 if isinstance(solver, Heun) else 3)


@every_solver
def test_tensors_of_others_are_never_changed(solver: Solver):
    """A denoiser may return its own input, and a report may keep what it is given."""
    path = DiscreteVp.linear()
    start = torch.ones(2, 3)
    kept: list[tuple[Tensor, Tensor]] = []

    def keep(step: int, total: int, x_t: Tensor, x0: Tensor) -> None:
        kept.extend([(x_t, x_t.clone()), (x0, x0.clone())])

    generator = torch.Generator().manual_seed(0)
    solver(lambda x, t, cond: x, start, TrailingGrid(5)(path), path, generator=generator, report=keep)
    assert start.tolist() == torch.ones(2, 3).tolist()
    for given, copied in kept:
        assert torch.equal(given, copied)


@every_solver
def test_the_condition_and_the_generator_are_used(solver: Solver):
    path = RectifiedFlow()
    times = UniformGrid(4)(path)

    def denoiser(x: Tensor, t: object, cond: Tensor) -> Tensor:
        return cond + 0.1 * x

    def run(cond: float, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return solver(denoiser, torch.ones(1, 2), times, path, cond=torch.tensor(cond), generator=generator)

    assert torch.equal(run(1.0, 0), run(1.0, 0))
    assert not torch.equal(run(1.0, 0), run(2.0, 0))
    stochastic = isinstance(solver, Ddpm) or solver == Ddim(eta=1.0)
    assert torch.equal(run(1.0, 0), run(1.0, 1)) != stochastic


def test_gradients_flow_through_a_trajectory():
    path = Vp()
    start = torch.ones(1, 3, requires_grad=True)
    for solver in (Ddim(), Heun(), DpmSolverPp2m()):
        (gradient,) = torch.autograd.grad(
            solver(Denoised(smooth_network, path, V()), start, UniformGrid(4)(path), path).sum(), start
        )
        assert bool((gradient != 0).all())


@every_path
def test_initial_noise_has_the_path_s_size(path: Path):
    noise = initial_noise((50000,), path.t_max, path, generator=torch.Generator().manual_seed(0))
    assert noise.std().item() == pytest.approx(path.sigma(path.t_max), rel=0.02)


@pytest.mark.parametrize("times", [(), (5.0,), (1.0, 2.0), (5.0, 5.0), (5.0, math.nan)])
def test_times_that_do_not_fall_are_refused(times: tuple[float, ...]):
    with pytest.raises(RequestError, match="falling"):
        Ddim()(lambda x, t, cond: x, torch.ones(1), times, DiscreteVp.linear())


def test_inversion_times_must_rise():
    with pytest.raises(RequestError, match="rising"):
        DdimInversion()(lambda x, t, cond: x, torch.ones(1), (5.0, 1.0), DiscreteVp.linear())


@pytest.mark.parametrize(
    "make",
    [
        lambda: Ddim(eta=1.5),
        lambda: Ddim(eta=math.nan),
        lambda: Churn(amount=-1.0),
        lambda: Churn(low=2.0, high=1.0),
        lambda: Churn(noise=0.0),
    ],
)
def test_impossible_settings_are_refused(make):
    with pytest.raises(RequestError, match="must be"):
        make()
