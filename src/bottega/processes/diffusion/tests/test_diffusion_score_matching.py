"""Score matching losses: equal in expectation, equal to the authors' numbers, and of the stated cost.

The golden numbers were made with ermongroup/sliced_score_matching (losses/score_matching.py, losses/sliced_sm.py,
losses/dsm.py; torch 2.13, CPU), by this script in its root:

    import torch, losses.sliced_sm as sliced, losses.score_matching as exact, losses.dsm as denoising
    g = torch.Generator().manual_seed(0)
    A, x, v = (torch.randn(s, generator=g) for s in ((4, 4), (5, 4), (5, 4)))
    energy = lambda x: (torch.tanh(x @ A).sum(1) ** 2 + 0.1 * (x ** 4).sum(1))
    print(sliced.single_sliced_score_matching(energy, x.clone(), noise=v)[0])
    print(sliced.sliced_VR_score_matching(energy, x.clone(), noise=v)[0])
    print(exact.exact_score_matching(energy, x.clone()).tolist())
    torch.manual_seed(3); print(denoising.dsm(energy, x.clone(), sigma=0.3))
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bottega.processes.diffusion import (
    GaussianMixture,
    Projection,
    denoising_score_matching,
    exact_score_matching,
    fisher_divergence,
    projections,
    sliced_score_matching,
)

SLICED, REDUCED, DENOISING = 4.9569220542907715, 32.44560623168945, 0.3078574240207672
EXACT = [110.48524475097656, -6.599424362182617, -9.676101684570312, -13.534574508666992, 59.720054626464844]


def drawn():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in ((4, 4), (5, 4), (5, 4))]


def energy_score(matrix):
    def score(x):
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            energy = torch.tanh(x @ matrix).sum(1) ** 2 + 0.1 * (x**4).sum(1)
            return -torch.autograd.grad(energy.sum(), x, create_graph=True)[0]

    return score


def network(dim, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(dim, 16), nn.Softplus(), nn.Linear(16, dim)).double()


def gradients(loss, model):
    model.zero_grad()
    loss.mean().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_equal_to_the_authors_numbers():
    matrix, x, v = drawn()
    score = energy_score(matrix)
    torch.testing.assert_close(sliced_score_matching(score, x, v[None]).mean().item(), SLICED, rtol=1e-5, atol=0)
    reduced = sliced_score_matching(score, x, v[None], variance_reduced=True).mean().item()
    torch.testing.assert_close(reduced, REDUCED, rtol=1e-5, atol=0)
    torch.testing.assert_close(exact_score_matching(score, x), torch.tensor(EXACT), rtol=1e-5, atol=1e-6)
    torch.manual_seed(3)
    loss = denoising_score_matching(score, x, 0.3, torch.randn_like(x), anneal_power=4.0)  # theirs times sigma^4
    torch.testing.assert_close(loss.mean().item(), DENOISING, rtol=1e-5, atol=0)


def test_the_trace_is_that_of_the_jacobian():
    model, x = network(5), torch.randn(3, 5, dtype=torch.float64)
    jacobians = torch.func.vmap(torch.func.jacrev(model))(x)
    expected = 0.5 * model(x).square().sum(1) + jacobians.diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(exact_score_matching(model, x), expected)


@pytest.mark.parametrize("kind", Projection)
@pytest.mark.parametrize("variance_reduced", [False, True])
def test_sliced_gradients_are_the_exact_ones_in_expectation(kind, variance_reduced):
    """Within three standard errors for a thousand directions, and not for a wrong loss."""
    model, x = network(4), torch.randn(6, 4, dtype=torch.float64)
    exact = gradients(exact_score_matching(model, x), model)
    parts = []
    generator = torch.Generator().manual_seed(1)
    for _ in range(24):
        directions = projections(x, 60, kind, generator)
        parts.append(gradients(sliced_score_matching(model, x, directions, variance_reduced=variance_reduced), model))
    each = torch.stack(parts)
    error, spread = (each.mean(0) - exact).norm(), (each.var(0).sum() / len(each)).sqrt()
    assert error < 3 * spread
    assert error < 0.15 * exact.norm()


def test_the_reduced_form_varies_less():
    model, x = network(8), torch.randn(4, 8, dtype=torch.float64)
    directions = projections(x, 400, Projection.RADEMACHER, torch.Generator().manual_seed(0))
    plain, reduced = (
        torch.stack([sliced_score_matching(model, x, v[None], variance_reduced=way).detach() for v in directions])
        for way in (False, True)
    )
    assert (reduced.var(0) < plain.var(0)).all()


def test_denoising_learns_the_blurred_score():
    """At the true score of the blurred data the denoising loss differs from any other score's by Fisher's distance."""
    mixture, sigma = GaussianMixture.two_modes(), 0.7
    generator = torch.Generator().manual_seed(0)
    x = mixture.sample(40_000, generator)
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    blurred = GaussianMixture(
        weights=mixture.weights, means=mixture.means, covariances=mixture.covariances * (1 + sigma**2)
    )

    def other(points):
        return blurred.score(points) + 0.3 * torch.tanh(points)

    losses = [denoising_score_matching(score, x, sigma, noise) for score in (blurred.score, other)]
    distance = fisher_divergence(other, blurred.score, x + sigma * noise)
    torch.testing.assert_close((losses[1] - losses[0]).mean(), distance.mean(), rtol=0.1, atol=0.0)


def test_a_level_for_each_sample_and_the_weight():
    x, noise, sigma = torch.randn(3, 2), torch.randn(3, 2), torch.tensor([0.1, 1.0, 4.0])
    whole = denoising_score_matching(torch.sin, x, sigma, noise, anneal_power=2.0)
    for i in range(3):
        level = float(sigma[i])
        alone = denoising_score_matching(torch.sin, x[i : i + 1], level, noise[i : i + 1])
        torch.testing.assert_close(whole[i : i + 1], alone * level**2)


def test_directions_have_covariance_one():
    x = torch.zeros(20_000, 3)
    for kind in Projection:
        v = projections(x, 1, kind, torch.Generator().manual_seed(0))[0]
        torch.testing.assert_close(v.T @ v / len(v), torch.eye(3), rtol=0, atol=0.05)
    assert set(projections(x, 1).unique().tolist()) == {-1.0, 1.0}
    sphere = projections(x[:10], 2, Projection.SPHERE)
    torch.testing.assert_close(sphere.norm(dim=2), torch.full((2, 10), 3**0.5))


def passes(loss, dim):
    """Backward passes through a network of this dimension that working a loss out takes."""
    model, count = network(dim), 0

    def counted(x):
        def seen(gradient):
            nonlocal count
            count += 1

        output = model(x)
        output.register_hook(seen)
        return output

    loss(counted, torch.randn(2, dim, dtype=torch.float64))
    return count


def test_exact_costs_a_pass_for_each_number_and_sliced_one():
    def sliced(score, x):
        return sliced_score_matching(score, x, projections(x, 1))

    assert [passes(exact_score_matching, dim) for dim in (2, 8, 32)] == [2, 8, 32]
    assert [passes(sliced, dim) for dim in (2, 8, 32)] == [1, 1, 1]
    assert passes(lambda s, x: denoising_score_matching(s, x, 0.1, torch.randn_like(x)), 8) == 0
