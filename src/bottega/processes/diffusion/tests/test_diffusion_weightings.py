"""Weightings: one loss in the space of x0 whatever the network predicts, and the published closed forms."""

import diffusers
import pytest
import torch
from diffusers.training_utils import compute_snr

from bottega.errors import RequestError
from bottega.processes.diffusion import (
    P2,
    X0,
    DiscreteVp,
    EdmWeighting,
    Epsilon,
    EvenIn,
    InverseSnr,
    MinSnr,
    RectifiedFlow,
    Score,
    SoftMinSnr,
    TruncatedSnr,
    V,
    Velocity,
    Vp,
    denoising_loss,
)

WEIGHTINGS = [
    MinSnr(), SoftMinSnr(), TruncatedSnr(), TruncatedSnr(5.0), InverseSnr(), P2(), P2(k=0.5, gamma=0.5), EvenIn(),
    EvenIn(V()), EvenIn(Velocity()), EvenIn(X0()), EdmWeighting(),
]  # fmt: skip
PATHS = [DiscreteVp.cosine(100), Vp(), RectifiedFlow()]
HEADS = [X0(), Epsilon(), V(), Velocity(), Score()]


def levels(path):
    t = path.training_time(torch.linspace(0.05, 0.95, 9))
    return t, path.alpha(t), path.sigma(t)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=repr)
def test_every_head_has_the_same_loss_in_x0(weighting, path):
    t, _, _ = levels(path)
    generator = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(len(t), 3, 4, generator=generator, dtype=torch.float64) for _ in range(2))

    def loss(head):
        def network(x, time, cond):
            alpha, sigma = path.alpha(t).reshape(-1, 1, 1), path.sigma(t).reshape(-1, 1, 1)
            return head.from_x0(torch.tanh(x.roll(1, -1)), x, alpha, sigma)

        return denoising_loss(network, x0, t, noise, path=path, prediction=head, weighting=weighting)

    first, *others = [loss(head) for head in HEADS]
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-9, atol=0)


def test_published_closed_forms_of_each_head():
    _, alpha, sigma = levels(DiscreteVp.cosine(1000))
    snr = (alpha / sigma) ** 2
    five = torch.full_like(snr, 5.0)
    expected = {
        (MinSnr(), X0()): torch.minimum(snr, five),
        (MinSnr(), Epsilon()): torch.minimum(snr, five) / snr,
        (MinSnr(), V()): torch.minimum(snr, five) / (snr + 1),
        (TruncatedSnr(5.0), Epsilon()): torch.maximum(snr, five) / snr,
        (TruncatedSnr(), X0()): torch.maximum(snr, torch.ones_like(snr)),
        (InverseSnr(), X0()): 1 / snr,
        (P2(), Epsilon()): 1 / (1 + snr),
        (EvenIn(Epsilon()), X0()): snr,
        (EvenIn(V()), X0()): snr + 1,
        (EvenIn(Velocity()), X0()): (1 + snr.sqrt()) ** 2,
        (EvenIn(X0()), X0()): torch.ones_like(snr),
        (SoftMinSnr(), X0()): 1 / (1 / snr + 1 / five),
    }
    for (weighting, head), weight in expected.items():
        torch.testing.assert_close(weighting(alpha, sigma, head), weight, rtol=1e-12, atol=0)


def test_soft_min_snr_lies_below_and_tends_to_min_snr():
    alpha, sigma = torch.tensor([1e-3, 1.0, 1.0]).double(), torch.tensor([1.0, 5**-0.5, 1e-3]).double()
    soft, hard = (weighting(alpha, sigma, X0()) for weighting in (SoftMinSnr(), MinSnr()))
    assert (soft < hard).all()
    torch.testing.assert_close(soft / hard, torch.tensor([1.0, 0.5, 1.0]).double(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("weighting", [w for w in WEIGHTINGS if not isinstance(w, EdmWeighting)], ids=repr)
@pytest.mark.parametrize("head", [X0(), Epsilon(), V()], ids=repr)
def test_pure_noise_weighs_one(weighting, head):
    path = DiscreteVp((*DiscreteVp.cosine(10).betas[:-1], 1.0))
    t = torch.tensor([9.0, 4.0])
    weight = weighting(path.alpha(t), path.sigma(t), head)
    assert weight[0] == 1.0
    assert torch.isfinite(weight).all()
    assert weight[1] > 0


def test_the_signal_to_noise_ratio_is_that_of_diffusers():
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    t = torch.tensor([0, 3, 500, 998])
    path = DiscreteVp.cosine(1000)
    ours = torch.exp(path.log_snr(t.double()))
    torch.testing.assert_close(ours.float(), compute_snr(scheduler, t), rtol=2e-3, atol=0)
    linear = diffusers.DDPMScheduler(num_train_timesteps=1000)
    ours = torch.exp(DiscreteVp.linear(1000).log_snr(t.double()))
    torch.testing.assert_close(ours.float(), compute_snr(linear, t), rtol=2e-3, atol=0)


@pytest.mark.parametrize("make", [lambda: SoftMinSnr(0.0), lambda: P2(k=0.0), lambda: P2(gamma=-1.0)])
def test_impossible_weightings_are_refused(make):
    with pytest.raises(RequestError, match="must be"):
        make()
