"""The probability-flow ODE: its solver against scipy, codes, and likelihoods against exact densities."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from bottega.errors import RequestError
from bottega.processes.diffusion import (
    AdaptiveOde,
    CosineVp,
    DiscreteVp,
    Dopri5,
    Edm,
    ExactTrace,
    GaussianMixture,
    Hutchinson,
    Probe,
    RectifiedFlow,
    SubVp,
    VeGeometric,
    Vp,
    bits_per_dimension,
    decode,
    dequantised,
    encode,
    flow_start,
    gaussian_log_prob,
    log_likelihood,
)

PATHS = [Vp(), SubVp(), VeGeometric(), Edm(), CosineVp(), RectifiedFlow(t_min=1e-3)]
FINE = Dopri5(rtol=1e-7, atol=1e-7)


def name(value: object) -> str:
    return type(value).__name__


def mixture() -> GaussianMixture:
    covariances = torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.2, -0.05], [-0.05, 0.4]]], dtype=torch.float64)
    means = torch.tensor([[1.0, 0.5], [-0.5, -1.0]], dtype=torch.float64)
    return GaussianMixture(weights=torch.tensor([0.3, 0.7]).double(), means=means, covariances=covariances)


def van_der_pol(t: float, y: torch.Tensor) -> torch.Tensor:
    return torch.stack([y[:, 1], 5 * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0] + math.sin(t)], dim=1)


@pytest.mark.parametrize(("start", "end"), [(0.0, 8.0), (0.0, -0.4)])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_dormand_prince_is_scipys(start, end, tolerance):
    """The same steps, the same calls, the same end."""
    y = torch.tensor([[2.0, 0.5]], dtype=torch.float64)
    ours = Dopri5(rtol=tolerance, atol=tolerance).solve(van_der_pol, y, start, end)
    function = lambda t, y: van_der_pol(t, torch.from_numpy(y)[None])[0].numpy()  # noqa: E731
    theirs = solve_ivp(function, (start, end), y[0].numpy(), method="RK45", rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(ours.y[0].numpy(), theirs.y[:, -1], rtol=1e-9)
    assert (ours.evaluations, ours.steps) == (theirs.nfev, len(theirs.t) - 1)


def test_error_follows_the_tolerance():
    field = lambda t, y: -y * math.cos(t)  # noqa: E731
    errors = []
    for tolerance in (1e-3, 1e-5, 1e-7):
        end = Dopri5(rtol=tolerance, atol=tolerance).solve(field, torch.ones((1, 1), dtype=torch.float64), 0.0, 5.0).y
        errors.append(abs(float(end) - math.exp(-math.sin(5.0))))
    assert errors[0] > 3 * errors[2]
    assert errors[2] < 1e-5


def test_the_hardest_sample_sets_the_step():
    field = lambda t, y: torch.cat([-y[:1], -40 * y[1:]])  # noqa: E731
    both = Dopri5().solve(field, torch.ones((2, 3), dtype=torch.float64), 0.0, 1.0)
    hard = Dopri5().solve(lambda t, y: -40 * y, torch.ones((1, 3), dtype=torch.float64), 0.0, 1.0)
    assert both.steps == hard.steps
    assert Dopri5().solve(field, torch.ones((2, 3)), 1.0, 1.0).steps == 0


def test_a_bad_field_and_an_endless_one_are_said():
    one = torch.ones((1, 1))
    with pytest.raises(RequestError, match="not finite"):
        Dopri5().solve(lambda t, y: y / 0.0, one, 0.0, 1.0)
    with pytest.raises(RequestError, match="max_steps"):
        Dopri5(max_steps=5).solve(lambda t, y: 1e4 * torch.cos(1e4 * t * one), one, 0.0, 100.0)
    with pytest.raises(RequestError, match="rtol"):
        Dopri5(rtol=0.0)


@pytest.mark.parametrize("path", [*PATHS, DiscreteVp.linear()], ids=name)
def test_codes_turn_back_into_samples_and_are_normal(path):
    data = mixture()
    x = data.sample(50, torch.Generator().manual_seed(0))
    code = encode(data.denoiser(path), x, path)
    back = decode(data.denoiser(path), code, path)
    assert float((back - x).abs().max()) < (1e-2 if isinstance(path, DiscreteVp) else 1e-3)  # kinks at each index
    end = data.at(path.t_max, path)
    wanted = (end.weights[:, None, None] * (end.covariances + end.means[..., None] * end.means[:, None])).sum(0)
    torch.testing.assert_close(code.T @ code / len(code), wanted, rtol=0.6, atol=0.5 * float(wanted.max()))


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_log_likelihood_is_the_analytic_one(path):
    data = mixture()
    x = data.sample(8, torch.Generator().manual_seed(1))
    start, end = data.at(flow_start(path), path), data.at(path.t_max, path)
    found = log_likelihood(data.denoiser(path), x, path, end=end.log_prob, method=FINE)
    torch.testing.assert_close(found.log_prob, start.log_prob(x), atol=2e-4, rtol=0)
    usual = log_likelihood(data.denoiser(path), x, path)
    torch.testing.assert_close(usual.log_prob, data.log_prob(x), atol=0.05, rtol=0)


def test_likelihood_integrates_to_one():
    data, path = mixture(), Vp()
    axis = torch.linspace(-4.2, 4.2, 37, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    found = log_likelihood(data.denoiser(path), grid, path, method=Dopri5(rtol=1e-3, atol=1e-3))
    assert float(found.log_prob.exp().sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1.0, abs=5e-3)


@pytest.mark.parametrize("kind", Probe)
def test_hutchinson_is_right_on_average(kind):
    data, path = mixture(), SubVp()
    x, rough = data.sample(1, torch.Generator().manual_seed(2)).expand(200, 2), Dopri5(rtol=1e-2, atol=1e-2)
    exact = log_likelihood(data.denoiser(path), x[:1], path, method=rough)
    random = torch.Generator().manual_seed(3)
    found = log_likelihood(data.denoiser(path), x, path, trace=Hutchinson(kind=kind), method=rough, generator=random)
    error = float(found.log_prob.std()) / math.sqrt(200)
    assert 1e-3 < error < 0.2
    assert float(found.log_prob.mean()) == pytest.approx(float(exact.log_prob), abs=4 * error + 0.02)
    many = log_likelihood(
        data.denoiser(path), x[:40], path, trace=Hutchinson(kind=kind, count=9), method=rough, generator=random
    )
    assert float(many.log_prob.std()) < 0.6 * float(found.log_prob.std())


def test_the_trace_of_a_known_map():
    matrix = torch.randn((6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.zeros((2, 2, 3), dtype=torch.float64)
    probes = ExactTrace().probes(x, None)
    assert probes.shape == (6, 2, 2, 3)
    total = sum((probe.flatten(1) @ matrix.T * probe.flatten(1)).sum(1) for probe in probes)
    torch.testing.assert_close(total, torch.full((2,), float(matrix.trace()), dtype=torch.float64))


def test_likelihood_works_inside_inference_mode():
    data, path = mixture(), Vp()
    x = data.sample(2, torch.Generator().manual_seed(4))
    with torch.inference_mode():
        inside = log_likelihood(data.denoiser(path), x.clone(), path)
    assert torch.equal(inside.log_prob, log_likelihood(data.denoiser(path), x, path).log_prob)


def test_bits_per_dimension_of_bytes():
    """Bytes that are all alike take 8 bits; those of a narrow normal take its entropy plus 7."""
    level = torch.full((1,), 12 * math.log(0.5), dtype=torch.float64)
    assert float(bits_per_dimension(level, 12)) == pytest.approx(8.0)
    x = dequantised(torch.arange(256, dtype=torch.uint8).repeat(40), torch.Generator().manual_seed(0))
    assert -1.0 <= float(x.min()) <= float(x.max()) < 1.0
    assert float(x.std()) == pytest.approx(2 / math.sqrt(12), rel=0.01)
    normal = 0.1 * torch.randn((2000, 4), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bits = bits_per_dimension(gaussian_log_prob(normal, 0.1), 4).mean()
    assert float(bits) == pytest.approx(0.5 * math.log2(2 * math.pi * math.e * 0.01) + 7, abs=0.03)


def test_stops_on_the_way_change_nothing_but_the_reports():
    data, path = mixture(), Vp()
    noise = torch.randn((8, 2), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen = []
    solver = AdaptiveOde(method=FINE)
    stopped = solver(
        data.denoiser(path),
        noise,
        (1.0, 0.6, 0.3, 0.0),
        path,
        report=lambda step, total, x, x0: seen.append((step, total)),
    )
    free = solver(data.denoiser(path), noise, (1.0, 0.0), path)
    torch.testing.assert_close(stopped, free, atol=1e-5, rtol=0)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(RequestError, match="falling"):
        solver.plan((0.0, 1.0), path)
