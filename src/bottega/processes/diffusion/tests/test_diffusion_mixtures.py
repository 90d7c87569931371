"""The exact answers of Gaussian mixtures, checked against autograd, quadrature and Monte Carlo."""

import pytest
import torch

from bottega.errors import RequestError
from bottega.processes.diffusion import CosineVp, Edm, GaussianMixture, RectifiedFlow, Vp


def crooked() -> GaussianMixture:
    """Three components with correlated coordinates."""
    generator = torch.Generator().manual_seed(3)
    roots = torch.randn((3, 2, 2), generator=generator, dtype=torch.float64)
    covariances = roots @ roots.mT + 0.2 * torch.eye(2, dtype=torch.float64)
    means = 2 * torch.randn((3, 2), generator=generator, dtype=torch.float64)
    return GaussianMixture(weights=torch.tensor([0.2, 0.5, 0.3]).double(), means=means, covariances=covariances)


def points(count: int = 16) -> torch.Tensor:
    return 2 * torch.randn((count, 2), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_density_integrates_to_one():
    axis = torch.linspace(-14, 14, 400, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    total = crooked().log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert float(total) == pytest.approx(1.0, abs=1e-6)


def test_score_is_the_gradient_of_the_log_density():
    x = points().requires_grad_()
    (gradient,) = torch.autograd.grad(crooked().log_prob(x).sum(), x)
    torch.testing.assert_close(crooked().score(x), gradient)


def test_samples_have_the_moments():
    mixture = crooked()
    drawn = mixture.sample(200_000, torch.Generator().manual_seed(1))
    mean = mixture.weights @ mixture.means
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.02, rtol=0)
    second = (
        mixture.weights[:, None, None] * (mixture.covariances + mixture.means[..., None] * mixture.means[:, None])
    ).sum(0)
    torch.testing.assert_close(drawn.T @ drawn / len(drawn), second, atol=0.06, rtol=0.02)


@pytest.mark.parametrize("path", [Vp(), CosineVp(), Edm(), RectifiedFlow()], ids=lambda path: type(path).__name__)
def test_denoiser_is_tweedies_formula(path):
    mixture, t = crooked(), 0.4
    x = points()
    expected = (x + path.sigma(t) ** 2 * mixture.at(t, path).score(x)) / path.alpha(t)
    torch.testing.assert_close(mixture.denoiser(path)(x, t), expected)
    torch.testing.assert_close(mixture.denoiser(path)(x, torch.full((len(x),), t)), expected)


def test_posterior_is_bayes_rule_on_a_grid():
    mixture = crooked()
    operator, measured, std = torch.tensor([[0.8, -0.5]]).double(), torch.tensor([0.7]).double(), 0.4
    axis = torch.linspace(-10, 10, 500, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    likelihood = -0.5 * ((measured - grid @ operator.T)[:, 0] / std) ** 2
    unnormalised = (mixture.log_prob(grid) + likelihood).exp()
    density = unnormalised / unnormalised.sum() / (axis[1] - axis[0]) ** 2
    torch.testing.assert_close(
        mixture.posterior(operator, measured, std).log_prob(grid).exp(), density, atol=1e-7, rtol=0
    )


def test_shares_that_do_not_add_up_are_refused():
    with pytest.raises(RequestError, match="add up to 1"):
        GaussianMixture.isotropic([0.5, 0.4], [[0.0], [1.0]], [1.0, 1.0])
