"""The fast solvers apart from parity: orders of convergence, exact limits, noise, and ParaDiGMS."""

import functools
import math

import pytest
import torch
from diffusion_peers import Toy, start, states_of
from torch import Tensor

from bottega.errors import Cancelled, RequestError
from bottega.processes.diffusion import (
    Bh,
    Churn,
    ClassifierFree,
    CosineVp,
    Ddim,
    Ddpm,
    Deis,
    DeisVariable,
    Denoised,
    DiscreteVp,
    DpmMultistep,
    DpmSinglestep,
    DpmSolverPp2m,
    Edm,
    Epsilon,
    Euler,
    ExactDenoiser,
    Expansion,
    GaussianMixture,
    Heun,
    LogSnrGrid,
    Nodes,
    ParaDigms,
    Path,
    Plms,
    Pndm,
    RectifiedFlow,
    Solver,
    Target,
    TrailingGrid,
    UniformGrid,
    UniPc,
    V,
    Vp,
)

EVERY_PATH = [DiscreteVp.scaled_linear(), Vp(), CosineVp(), Edm(), RectifiedFlow()]
every_path = pytest.mark.parametrize("path", EVERY_PATH, ids=lambda path: type(path).__name__)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def smooth_times(path: Path, steps: int) -> list[float]:
    """Even in log-SNR between noise levels 12 and 0.1."""
    high, low = -2 * math.log(12.0), -2 * math.log(0.1)
    return [path.time_of_log_snr(high + (low - high) * i / steps) for i in range(steps + 1)]


def smooth_network(x: Tensor, t: Tensor, cond: object = None) -> Tensor:
    return 0.8 * torch.tanh(x.roll(1, -1) - 0.3 * x)


MIXTURE = GaussianMixture.isotropic([0.3, 0.5, 0.2], [[-1.2], [0.9], [0.3]], [0.5, 0.35, 0.6])


@functools.cache
def exact_end(path: Path) -> tuple[Tensor, Tensor]:
    """A start, and where a third-order solver carries it in so many steps that nothing is left to gain."""
    times = smooth_times(path, 700)
    first = path.sigma(times[0]) * torch.linspace(-1.5, 1.5, 5, dtype=torch.float64)[:, None]
    return first, DpmSinglestep(order=3)(MIXTURE.denoiser(path), first, times, path)


def error_slope(solver: Solver, path: Path) -> float:
    """Minus the slope of log error over log steps, from 24 to 96 steps."""
    first, truth = exact_end(path)
    denoiser = MIXTURE.denoiser(path)
    counts = (24, 48, 96)
    errors = [(solver(denoiser, first, smooth_times(path, n), path) - truth).norm().item() for n in counts]
    x, y = (torch.tensor(each, dtype=torch.float64).log() for each in (counts, errors))
    return -float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


@pytest.mark.parametrize(
    ("solver", "order"),
    [
        *((DpmSinglestep(order=k, target=target), k) for k in (1, 2, 3) for target in Target),
        (DpmSinglestep(order=3, expansion=Expansion.EXACT), 3),
        (DpmSinglestep(order=2, nodes=Nodes.GRID), 2),
        (DpmMultistep(order=2, lower_order_final=False), 2),
        (DpmMultistep(order=3, lower_order_final=False), 2),  # the authors' factor takes half the curvature
        (DpmMultistep(order=3, target=Target.NOISE, expansion=Expansion.EXACT, lower_order_final=False), 3),
        (Deis(order=2, lower_order_final=False), 2),
        (Deis(order=3, variable=DeisVariable.TIME, lower_order_final=False), 3),
        (Deis(order=3, variable=DeisVariable.RHO, lower_order_final=False), 3),
        (UniPc(order=1, lower_order_final=False), 2),
        (UniPc(order=2, lower_order_final=False), 3),
        (UniPc(order=2, bh=Bh.BH1, lower_order_final=False), 3),
        (UniPc(order=3, lower_order_final=False), 4),
        (Pndm(), 2),
        (Pndm(order=2), 2),
        (Plms(), 2),
    ],
    ids=lambda value: repr(value)[:70],
)
def test_solvers_converge_at_their_order(solver: Solver, order: int):
    """A corrector adds one order; PNDM's is two, as its paper says, because the transfer is exact to second order."""
    assert error_slope(solver, RectifiedFlow()) == pytest.approx(order, abs=0.4)


LIMITS = [
    (DpmSinglestep(order=1), Ddim()),
    (DpmSinglestep(order=1, target=Target.DATA, eta=1.0), Ddpm()),
    (DpmMultistep(order=1), Ddim()),
    (DpmMultistep(order=1, eta=1.0), Ddpm()),
    (Deis(order=1), Ddim()),
    (UniPc(order=1, corrector=False), Ddim()),
    (Plms(order=1), Ddim()),
    (DpmMultistep(order=2), DpmSolverPp2m()),
    (Deis(order=3), DpmMultistep(target=Target.NOISE, expansion=Expansion.EXACT)),
    (UniPc(order=2, corrector=False), DpmMultistep(order=2)),
]


@every_path
@pytest.mark.parametrize(("one", "other"), LIMITS, ids=lambda solver: repr(solver)[:50])
def test_solvers_that_are_one_method_are_equal(path: Path, one: Solver, other: Solver):
    """20 steps with the same noise; UniPC without its lower orders at the end."""
    times = smooth_times(path, 20)
    denoiser = Denoised(smooth_network, path, V())
    one = UniPc(order=one.order, corrector=False, lower_order_final=False) if isinstance(one, UniPc) else one
    x = start().double()
    mine, theirs = (states_of(each, denoiser, x, times, path) for each in (one, other))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


EVERY_FAST = [
    DpmSinglestep(),
    DpmSinglestep(order=2, target=Target.DATA, eta=1.0),
    DpmSinglestep(nodes=Nodes.GRID),
    DpmMultistep(),
    DpmMultistep(target=Target.NOISE),
    DpmMultistep(order=2, eta=1.0),
    Deis(),
    Deis(order=4, variable=DeisVariable.TIME),
    UniPc(),
    UniPc(target=Target.NOISE, bh=Bh.BH1),
    Pndm(),
    Plms(),
]
every_solver = pytest.mark.parametrize("solver", EVERY_FAST, ids=lambda solver: repr(solver)[:60])


@every_solver
@every_path
def test_one_step_is_ddim(path: Path, solver: Solver):
    times = (smooth_times(path, 1)[0], path.t_clean)
    denoiser = Denoised(Toy(), path, V())
    torch.testing.assert_close(solver(denoiser, start(), times, path), Ddim()(denoiser, start(), times, path))


@every_solver
def test_a_flow_may_start_from_pure_noise(solver: Solver):
    path = RectifiedFlow()
    out = solver(Denoised(Toy(), path, V()), start(), UniformGrid(8)(path), path)
    assert bool(out.isfinite().all())


@every_solver
def test_reports_count_the_grid_s_steps_and_may_stop(solver: Solver):
    path, steps = DiscreteVp.linear(), []

    def stop_at_five(step: int, total: int, x_t: Tensor, x0: Tensor) -> None:
        steps.append((step, total))
        if step == 5:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        solver(Denoised(Toy(), path, Epsilon()), start(), TrailingGrid(10)(path), path, report=stop_at_five)
    assert steps == [(i, 10) for i in range(1, 6)]


@every_solver
def test_tensors_of_others_are_never_changed(solver: Solver):
    """A denoiser may return its own input, and a report may keep what it is given."""
    path, kept = DiscreteVp.linear(), []
    x = start()

    def keep(step: int, total: int, x_t: Tensor, x0: Tensor) -> None:
        kept.extend([(x_t, x_t.clone()), (x0, x0.clone())])

    solver(lambda state, t, cond: state, x, TrailingGrid(8)(path), path, report=keep)
    assert torch.equal(x, start())
    for given, copied in kept:
        assert torch.equal(given, copied)


def test_stages_of_the_sde_see_one_brownian_path():
    """With a denoiser that ignores the state, the noise of a step has the variance that the SDE gives it."""
    path = Vp()
    times = smooth_times(path, 3)
    plan = DpmSinglestep(order=3, target=Target.DATA, eta=1.0).plan(times, path)
    once = DpmMultistep(order=1, eta=1.0).plan(times, path)
    for step, whole in zip(plan, once, strict=True):
        parts, (single,) = step.stages[-1][1].noises, whole.stages[0][1].noises
        assert math.sqrt(sum(part**2 for part in parts)) == pytest.approx(single, rel=1e-9)
        assert len(parts) == 3


# --------------------------------------------------------------------------------------------------------- ParaDiGMS
ONE_STEP = [Ddim(), Ddim(eta=0.5), Ddpm(), Euler(), Heun(), DpmSinglestep(order=2), DpmSinglestep(order=3)]


@pytest.mark.parametrize("window", [1, 7, 40])
@pytest.mark.parametrize("solver", ONE_STEP, ids=lambda solver: repr(solver)[:40])
def test_paradigms_is_the_sequential_solver(solver: Solver, window: int):
    """Exact at tolerance 0 after at most as many passes; within the tolerance otherwise, in fewer."""
    path = DiscreteVp.scaled_linear()
    times, denoiser = TrailingGrid(20)(path), Denoised(Toy(), path, V())
    calls = 0

    def counted(x: Tensor, t: object, cond: object = None) -> Tensor:
        nonlocal calls
        calls += 1
        return denoiser(x, t, cond)

    right = solver(counted, start(), times, path, generator=torch.Generator().manual_seed(5))
    for tolerance in (0.0, 1e-3):
        parallel = ParaDigms(solver=solver, window=window, tolerance=tolerance)
        found = parallel.solve(denoiser, start(), times, path, generator=torch.Generator().manual_seed(5))
        error = (found.state - right).norm() / right.norm()
        assert error < (2e-5 if tolerance == 0 else 2e-2)
        assert found.passes <= calls + (0 if window == 1 or tolerance else 20)
        assert found.evaluations >= found.passes


def test_paradigms_takes_fewer_passes():
    path = Vp()
    times, denoiser = LogSnrGrid(40)(path), MIXTURE.denoiser(path)
    x = torch.linspace(-2, 2, 6, dtype=torch.float64)[:, None]
    found = ParaDigms(window=20, tolerance=1e-2).solve(denoiser, x, times, path)
    assert found.passes <= 8
    assert (found.state - Ddim()(denoiser, x, times, path)).abs().max() < 0.02


def test_paradigms_tiles_conditions_and_keeps_guidance():
    path = Vp()
    times, denoiser = UniformGrid(12)(path), ExactDenoiser(MIXTURE, path)
    cond = {"shift": torch.tensor([[0.5], [-0.5]], dtype=torch.float64), "scale": (torch.ones(2, 1), 3.0)}

    def told(x: Tensor, t: object, cond: dict) -> Tensor:
        return denoiser(x, t) + cond["shift"] * cond["scale"][0] / cond["scale"][1]

    null = {"shift": torch.zeros(1, 1, dtype=torch.float64), "scale": (torch.ones(1, 1), 3.0)}
    guided = ClassifierFree(scale=2.0, null_cond=null, batched=False)(told)
    x = torch.tensor([[1.0], [0.2]], dtype=torch.float64)
    exact = ParaDigms(window=5, tolerance=0.0)(guided, x, times, path, cond=cond)
    torch.testing.assert_close(exact, Ddim()(guided, x, times, path, cond=cond), rtol=1e-6, atol=1e-7)


def test_paradigms_reports_and_stops():
    path, seen = Vp(), []

    def stop(step: int, total: int, x_t: Tensor, x0: Tensor) -> None:
        seen.append((step, total, x_t.shape, x0.shape))
        if step >= 3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        ParaDigms(window=4)(Denoised(Toy(), path, V()), start(), UniformGrid(9)(path), path, report=stop)
    assert all(total == 9 and x == x0 == (2, 3, 2, 2) for _, total, x, x0 in seen)
    assert [step for step, *_ in seen] == sorted({step for step, *_ in seen})


@pytest.mark.parametrize("solver", [DpmMultistep(), UniPc(), Heun(churn=Churn(amount=2.0))], ids=repr)
def test_paradigms_refuses_solvers_that_look_back_or_churn(solver: Solver):
    path = Vp()
    with pytest.raises(RequestError, match="nothing of earlier steps"):
        ParaDigms(solver=solver)(Denoised(Toy(), path, V()), start(), UniformGrid(6)(path), path)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DpmMultistep(order=4),
        lambda: DpmSinglestep(order=0),
        lambda: DpmMultistep(eta=2.0),
        lambda: DpmMultistep(target=Target.NOISE, eta=1.0),
        lambda: DpmSinglestep(target=Target.DATA, nodes=Nodes.GRID, eta=1.0),
        lambda: UniPc(order=4),
        lambda: Pndm(order=3),
        lambda: Plms(order=5),
        lambda: Deis(order=5),
        lambda: ParaDigms(window=0),
        lambda: ParaDigms(tolerance=-1.0),
    ],
)
def test_impossible_settings_are_refused(make):
    with pytest.raises(RequestError, match="must be"):
        make()
