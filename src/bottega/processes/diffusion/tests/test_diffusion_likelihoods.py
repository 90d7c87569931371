"""Bayes' rule on Gaussians: whatever the path, prediction and solver, samples follow the closed-form posterior."""

from __future__ import annotations

import pytest
import torch

from bottega.errors import RequestError
from bottega.processes.diffusion import (
    X0,
    CleanLikelihood,
    CosineVp,
    Ddim,
    Denoised,
    DpmSolverPp2m,
    Edm,
    Epsilon,
    Euler,
    GaussianMixture,
    Heun,
    Isotropic,
    LinearGaussian,
    LogSnrGrid,
    Matrix,
    NoisyLikelihood,
    RectifiedFlow,
    Score,
    Tweedie,
    V,
    Velocity,
    Vp,
    gaussian_log_likelihood,
    residual_log_likelihood,
)

DOUBLE = torch.float64
MEAN = torch.tensor([0.5, -1.0, 2.0], dtype=DOUBLE)
COVARIANCE = torch.tensor([[1.0, 0.6, 0.0], [0.6, 0.8, -0.2], [0.0, -0.2, 0.5]], dtype=DOUBLE)
ROWS = torch.tensor([[1.0, 0.5, -1.0], [0.0, 1.0, 1.0]], dtype=DOUBLE)
MEASURED = torch.tensor([0.3, 1.7], dtype=DOUBLE)
NOISE = 0.4
EXACT = Tweedie()
PATHS = {
    "vp": Vp(t_min=1e-4),
    "cosine": CosineVp(t_min=1e-4),
    "edm": Edm(sigma_min=1e-3, sigma_max=80.0),
    "flow": RectifiedFlow(t_min=1e-3, t_max=0.999),
}
PREDICTIONS = {"x0": X0(), "noise": Epsilon(), "v": V(), "velocity": Velocity(), "score": Score()}
SOLVERS = {"ddim": Ddim(), "euler": Euler(), "heun": Heun(), "dpm": DpmSolverPp2m()}


def prior(covariance=COVARIANCE):
    weights = torch.ones(1, dtype=DOUBLE)
    return GaussianMixture(weights=weights, means=MEAN[None], covariances=covariance[None])


def network(denoiser, path, prediction):
    """The exact denoiser as a network with this prediction, whose time is rounded to float32 as networks' times are."""

    def output(x, t, cond):
        at = t.double()
        alpha, sigma = path.alpha(at)[:, None], path.sigma(at)[:, None]
        return prediction.from_x0(denoiser(x, at), x, alpha, sigma)

    return Denoised(output, path, prediction)


def moments(denoiser, path, solver, steps=40):
    """Mean and covariance of the samples, exactly: on Gaussian data a deterministic solver is an affine map."""
    times = LogSnrGrid(steps)(path)
    size = path.sigma(times[0])
    signal = path.alpha(times[0])
    starts = torch.cat([torch.zeros(1, 3, dtype=DOUBLE), torch.eye(3, dtype=DOUBLE)]) * size
    with torch.no_grad():
        ends = solver(denoiser, starts + signal * MEAN, times, path)
    linear = (ends[1:] - ends[:1]).T
    return ends[0], linear @ linear.T


def closed_form(covariance=COVARIANCE):
    found = prior(covariance).posterior(ROWS, MEASURED, NOISE)
    return found.means[0], found.covariances[0]


def exact_guidance(path, covariance=EXACT, carry=EXACT):
    return LinearGaussian(
        operator=Matrix(ROWS), measured=MEASURED[None], noise_std=NOISE, path=path, certainty=covariance, carry=carry
    )


CASES = sorted({(p, "x0", s) for p in PATHS for s in SOLVERS} | {(p, n, "dpm") for p in PATHS for n in PREDICTIONS})


@pytest.mark.parametrize(("path", "prediction", "solver"), CASES)
def test_posterior_is_the_closed_form(path, prediction, solver):
    way = PATHS[path]
    plain = network(prior().denoiser(way), way, PREDICTIONS[prediction])
    mean, covariance = moments(exact_guidance(way)(plain), way, SOLVERS[solver])
    wanted_mean, wanted_covariance = closed_form()
    first_order = solver in {"ddim", "euler"}
    torch.testing.assert_close(mean, wanted_mean, rtol=0, atol=0.06 if first_order else 0.02)
    torch.testing.assert_close(covariance, wanted_covariance, rtol=0, atol=0.12 if first_order else 0.03)
    assert (mean - MEAN).abs().max() > 0.3, "the measurement moved nothing"


@pytest.mark.parametrize("path", PATHS)
def test_isotropic_is_exact_for_round_data(path):
    way, round_data = PATHS[path], 0.7 * torch.eye(3, dtype=DOUBLE)
    even = Isotropic(data_variance=0.7)
    for carry in (even, Tweedie()):
        guided = exact_guidance(way, even, carry)(prior(round_data).denoiser(way))
        mean, covariance = moments(guided, way, Heun())
        wanted_mean, wanted_covariance = closed_form(round_data)
        torch.testing.assert_close(mean, wanted_mean, rtol=0, atol=0.01)
        torch.testing.assert_close(covariance, wanted_covariance, rtol=0, atol=0.02)


def test_ddnm_projects_onto_the_measurement():
    path = Vp()
    even = Isotropic()
    guidance = LinearGaussian(
        operator=Matrix(ROWS), measured=MEASURED[None], noise_std=0.0, path=path, certainty=even, carry=even
    )
    x0 = guidance(prior().denoiser(path))(torch.ones(4, 3, dtype=DOUBLE), 0.7, None)
    torch.testing.assert_close(x0 @ ROWS.T, MEASURED.expand(4, 2))


@pytest.mark.parametrize("path", PATHS)
def test_noisy_likelihood_with_the_right_gradient_is_bayes(path):
    """log p(y | x_t) of Gaussian data, written down: y given x_t is Gaussian."""
    way, data = PATHS[path], prior()

    def log_likelihood(x, t):
        alpha, sigma = way.alpha(t), way.sigma(t)
        noisy = alpha**2 * COVARIANCE + sigma**2 * torch.eye(3, dtype=DOUBLE)
        left = COVARIANCE - alpha**2 * COVARIANCE @ torch.linalg.solve(noisy, COVARIANCE)
        x0 = MEAN + alpha * (x - alpha * MEAN) @ torch.linalg.solve(noisy, COVARIANCE)
        spread = ROWS @ left @ ROWS.T + NOISE**2 * torch.eye(2, dtype=DOUBLE)
        error = MEASURED - x0 @ ROWS.T
        return -0.5 * (error * torch.linalg.solve(spread, error.T).T).sum(1)

    plain = data.denoiser(way)
    x, t = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=DOUBLE), way.time_of_log_snr(0.3)
    wanted = exact_guidance(way)(plain)(x, t, None)
    found = NoisyLikelihood(log_likelihood=log_likelihood, path=way)(plain)(x, t, None)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    half = NoisyLikelihood(log_likelihood=log_likelihood, path=way, scale=0.5)(plain)(x, t, None)
    torch.testing.assert_close(half, 0.5 * (found + plain(x, t, None)))


def test_clean_likelihood_of_a_sure_measurement_differentiates_through_the_denoiser():
    path, operator = Vp(), Matrix(ROWS)
    plain = prior().denoiser(path)
    x, t = torch.ones(2, 3, dtype=DOUBLE), 0.4
    likely = gaussian_log_likelihood(operator, MEASURED[None], NOISE)
    guided = CleanLikelihood(log_likelihood=likely, path=path)(plain)(x, t, None)
    state = x.clone().requires_grad_()
    gradient = torch.autograd.grad(likely(plain(state, t), t).sum(), state)[0]
    wanted = plain(x, t) + path.sigma(t) ** 2 / path.alpha(t) * gradient
    torch.testing.assert_close(guided, wanted)
    free = CleanLikelihood(log_likelihood=likely, path=path, carry=Isotropic())(plain)(x, t, None)
    x0 = plain(x, t)
    pull = (MEASURED - x0 @ ROWS.T) @ ROWS / NOISE**2
    torch.testing.assert_close(free, x0 + Isotropic().variance(path.alpha(t), path.sigma(t)) * pull)


def test_residual_pulls_with_one_length_however_far_it_is():
    operator, x = Matrix(torch.eye(3, dtype=DOUBLE)), torch.zeros(1, 3, dtype=DOUBLE, requires_grad=True)
    for far in (1.0, 100.0):
        likely = residual_log_likelihood(operator, far * torch.ones(1, 3, dtype=DOUBLE))
        (gradient,) = torch.autograd.grad(likely(x, 0.5).sum(), x)
        torch.testing.assert_close(gradient.norm(), torch.ones((), dtype=DOUBLE))


@pytest.mark.parametrize("guidance", ["kalman", "pigdm", "exact", "clean", "noisy"])
def test_a_time_for_each_item_is_the_same_as_one_for_all(guidance):
    path = Vp()
    likely = gaussian_log_likelihood(Matrix(ROWS), MEASURED[None], NOISE)
    guided = {
        "kalman": exact_guidance(path, Isotropic(), Isotropic()),
        "pigdm": exact_guidance(path, Isotropic()),
        "exact": exact_guidance(path),
        "clean": CleanLikelihood(log_likelihood=likely, path=path),
        "noisy": NoisyLikelihood(log_likelihood=likely, path=path),
    }[guidance](prior().denoiser(path))
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    together = guided(x, torch.tensor([0.2, 0.9], dtype=DOUBLE), None)
    apart = torch.cat([guided(x[:1], 0.2, None), guided(x[1:], 0.9, None)])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)


def test_pure_noise_is_not_guided():
    path = RectifiedFlow()
    plain = prior().denoiser(path)
    x = torch.ones(1, 3, dtype=DOUBLE)
    likely = gaussian_log_likelihood(Matrix(ROWS), MEASURED[None], NOISE)
    for guidance in (exact_guidance(path, Isotropic()), CleanLikelihood(log_likelihood=likely, path=path)):
        torch.testing.assert_close(guidance(plain)(x, 1.0, None), plain(x, 1.0))
        for t in (1.0, torch.ones(1, dtype=DOUBLE)):
            assert torch.isfinite(guidance(plain)(x, t, None)).all()


def test_guidance_works_inside_inference_mode():
    path = Vp()
    guided = exact_guidance(path, Isotropic())(prior().denoiser(path))
    x = torch.ones(1, 3, dtype=DOUBLE)
    with torch.inference_mode():
        inside = guided(x, 0.5, None)
    torch.testing.assert_close(inside, guided(x, 0.5, None))


def test_wrong_numbers_are_named():
    with pytest.raises(RequestError, match="noise_std"):
        exact_guidance(Vp()).__class__(operator=Matrix(ROWS), measured=MEASURED, noise_std=-1.0, path=Vp())
    with pytest.raises(RequestError, match="above 0 for a Tweedie"):
        LinearGaussian(
            operator=Matrix(ROWS), measured=MEASURED, noise_std=0.0, path=Vp(), certainty=Tweedie(), carry=Tweedie()
        )
    with pytest.raises(RequestError, match="data_variance"):
        Isotropic(data_variance=0.0)
