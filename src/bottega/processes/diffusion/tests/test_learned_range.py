"""Learned variances and power-cosine guidance against the code of sail-sg/MDT, and what they claim.

The numbers were made with `masked_diffusion` of sail-sg/MDT, every input drawn by torch.Generator().manual_seed(0) in
this order: x0 = 2 rand(4, 2, 3, 3) - 1, noise = randn(4, 2, 3, 3), out = randn(4, 4, 3, 3), W = 0.3 randn(4, 2),
start = randn(1, 2, 2, 2), and five times randn(1, 2, 2, 2), the noise of the steps:

    d = create_diffusion("")
    d._vb_terms_bpd(lambda *_: out, x0, d.q_sample(x0, t, noise), t, clip_denoised=False)    # t = 1, 20, 500, 999
    create_diffusion("5").p_sample_loop(net, start.shape, start, clip_denoised=False)
    net = lambda x, t: tanh(einsum("oc,bchw->bohw", W, x) * (1 + t / 1000))
"""

from __future__ import annotations

import math

import pytest
import torch

from bottega.errors import RequestError
from bottega.processes.diffusion import (
    Denoised,
    DenoisedRange,
    DiscreteVp,
    Epsilon,
    LinspaceGrid,
    PowerCosine,
    RangedDdpm,
    corrupt,
    range_loss,
)

PATH = DiscreteVp.linear()
BOUND = [1.2509140968322754, 0.0863235592842102, 0.015090310014784336, 0.01813557557761669]
DRAWN = [6.829675197601318, 121.1666259765625, 134.30836486816406, -139.1675567626953, 95.49604034423828,
         -61.669315338134766, 177.49160766601562, -127.27444458007812]  # fmt: skip


def drawn():
    """x0, noise, out, W, start and the steps' noise."""
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(4, 2, 3, 3, generator=generator) * 2 - 1
    rest = [torch.randn(shape, generator=generator) for shape in ((4, 2, 3, 3), (4, 4, 3, 3), (4, 2), (1, 2, 2, 2))]
    return x0, *rest, [torch.randn(1, 2, 2, 2, generator=generator) for _ in range(5)]


def expected(noisy, noise, t):
    alpha, sigma = (part.float().reshape(-1, 1, 1, 1) for part in (PATH.alpha(t), PATH.sigma(t)))
    return Epsilon().to_x0(noise, noisy, alpha, sigma)


def test_the_bound_is_the_authors():
    x0, noise, out, *_ = drawn()
    t = torch.tensor([1.0, 20.0, 500.0, 999.0], dtype=torch.float64)
    noisy = corrupt(x0, t, noise, PATH)
    found = range_loss(out[:, 2:], x0, noisy, expected(noisy, out[:, :2], t), t, PATH)
    torch.testing.assert_close(found, torch.tensor(BOUND), rtol=1e-4, atol=1e-6)


def test_the_bound_trains_the_variance_alone_and_vanishes_at_the_posterior():
    x0, noise, *_ = drawn()
    t = torch.tensor([1.0, 20.0, 500.0, 999.0], dtype=torch.float64)
    noisy = corrupt(x0, t, noise, PATH)
    place, guess = torch.full_like(x0, -1.0, requires_grad=True), x0.clone().requires_grad_()
    found = range_loss(place, x0, noisy, guess, t, PATH)
    torch.testing.assert_close(found.detach(), torch.zeros(4), rtol=0, atol=1e-6)
    range_loss(place + 1, x0, noisy, guess, t, PATH).sum().backward()
    assert guess.grad is None
    assert place.grad is not None
    assert place.grad.any()


def test_the_first_level_is_a_likelihood():
    x0 = torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1, 1)
    t, place = torch.zeros(3, dtype=torch.float64), torch.full((3, 1, 1, 1), -1.0)
    bits = range_loss(place, x0, x0, x0, t, PATH)
    std = math.sqrt(float(PATH.sigma(1.0) ** 2 - (PATH.alpha(1.0) / PATH.alpha(0.0)) ** 2 * PATH.sigma(0.0) ** 2)
                    * float(PATH.sigma(0.0) / PATH.sigma(1.0)) ** 2)  # fmt: skip
    inside = math.erf(1 / 255 / std / math.sqrt(2))
    torch.testing.assert_close(bits[1].item(), -math.log2(inside), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(bits[[0, 2]].tolist(), [-math.log2((1 + inside) / 2)] * 2, rtol=1e-3, atol=1e-5)


def test_ancestral_steps_are_the_authors():
    *_, weight, start, noises = drawn()

    def network(x, t, cond):
        return torch.tanh(torch.einsum("oc,bchw->bohw", 0.3 * weight, x) * (1 + t.reshape(-1, 1, 1, 1) / 1000))

    denoiser, left = DenoisedRange(network, PATH, Epsilon()), iter(noises)
    x = start
    for step in RangedDdpm().plan(LinspaceGrid(5)(PATH), PATH):
        x, _ = step.take(x, x, lambda state, t: denoiser(state, t, None), lambda state: next(left))
    torch.testing.assert_close(x.flatten(), torch.tensor(DRAWN), rtol=1e-5, atol=1e-4)


def test_the_best_place_lies_between_the_two_variances():
    """For a Gaussian the right variance of a step is known; a network that says it draws the Gaussian exactly."""
    scale = 0.5

    def network(x, t, cond):
        alpha, sigma = (part.float().reshape(-1, 1) for part in (PATH.alpha(t.double()), PATH.sigma(t.double())))
        power = alpha**2 * scale**2 + sigma**2
        noise = sigma * x / power
        sooner = (t - 50).clamp(min=-1).double()
        alpha_s, sigma_s = (part.float().reshape(-1, 1) for part in (PATH.alpha(sooner), PATH.sigma(sooner)))
        forward = sigma**2 - (alpha / alpha_s) ** 2 * sigma_s**2
        right = forward * (alpha_s**2 * scale**2 + sigma_s**2) / power
        low, high = (forward * sigma_s**2 / sigma**2).log(), forward.log()
        place = 2 * (right.log() - low) / (high - low) - 1
        assert torch.all((place >= -1.001) & (place <= 1.001) | ~place.isfinite())
        return torch.cat((noise, place.nan_to_num(0.0, 0.0, 0.0).expand_as(x)), dim=1)

    times = tuple(float(t) for t in range(999, 48, -50)) + (-1.0,)
    start = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(1))
    found = RangedDdpm()(DenoisedRange(network, PATH, Epsilon()), start, times[:-1], PATH,
                         generator=torch.Generator().manual_seed(2))  # fmt: skip
    last = times[-2]
    right = math.sqrt((PATH.alpha(last) * scale) ** 2 + PATH.sigma(last) ** 2)
    assert float(found.std()) == pytest.approx(right, rel=0.02)


def test_times_must_fall():
    with pytest.raises(RequestError, match="falling"):
        RangedDdpm().plan((0.0, 1.0), PATH)


# --- power-cosine guidance
def test_the_scale_runs_from_one_to_the_whole():
    guidance = PowerCosine(scale=4.0, null_cond=torch.zeros(1, dtype=torch.long))
    assert guidance.scale_at(0.0) == pytest.approx(4.0)
    assert guidance.scale_at(1000.0) == pytest.approx(1.0)
    assert guidance.scale_at(999.0) == pytest.approx(1.0, abs=1e-6)
    expected_scale = 1 + 3 * (1 - math.cos(math.pi * 0.7**4)) / 2
    assert guidance.scale_at(300.0) == pytest.approx(expected_scale)
    scales = guidance.scale_at(torch.arange(0.0, 1000.0, 10.0))
    assert torch.all(scales.diff() <= 0)
    nearly_constant = PowerCosine(scale=4.0, null_cond=None, power=0.01)
    assert nearly_constant.scale_at(900.0) > 3.9


def test_guided_channels_and_the_rest():
    def denoiser(x, t, cond):
        return x * 0 + cond.reshape(-1, 1, 1, 1)

    null = torch.tensor([1.0])
    x, cond = torch.zeros(2, 4, 1, 1), torch.tensor([2.0, 5.0])
    guided = PowerCosine(scale=3.0, null_cond=null, channels=3)(denoiser)(x, 0.0, cond)
    assert guided[:, :3].flatten().tolist() == [4.0] * 3 + [13.0] * 3
    assert guided[:, 3].flatten().tolist() == [2.0, 5.0]
    times = torch.tensor([0.0, 1000.0])
    both = PowerCosine(scale=3.0, null_cond=null)(denoiser)(x, times, cond)
    assert both[:, 0].flatten().tolist() == [4.0, 5.0]
    assert PowerCosine(scale=1.0, null_cond=null)(denoiser) is denoiser


@pytest.mark.parametrize("wrong", [{"scale": math.nan}, {"power": 0.0}, {"horizon": -1.0}, {"channels": 0}])
def test_wrong_guidance_is_refused(wrong):
    with pytest.raises(RequestError):
        PowerCosine(**({"scale": 2.0, "null_cond": None} | wrong))


def test_the_plain_half_is_a_denoiser():
    x0, noise, out, *_ = drawn()
    del x0

    def network(x, t, cond):
        return out

    whole = DenoisedRange(network, PATH, Epsilon())(noise, 300.0)
    half = Denoised(lambda x, t, cond: out[:, :2], PATH, Epsilon())(noise, 300.0)
    assert torch.equal(whole[:, :2], half)
    assert torch.equal(whole[:, 2:], out[:, 2:])
