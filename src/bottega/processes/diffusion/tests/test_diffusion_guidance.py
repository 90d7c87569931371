"""Guidance: its limits, its batching, and its intervals."""

import math

import pytest
import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion import (
    ClassifierFree,
    Clipped,
    Denoised,
    DiscreteVp,
    Edm,
    Epsilon,
    IntervalGuidance,
    V,
)

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
COND = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
NULL = torch.full((1, 4), 0.25)
TIMES = [500.0, torch.tensor([10.0, 500.0, 900.0])]
each_time = pytest.mark.parametrize("t", TIMES, ids=["float", "tensor"])


class Counted:
    """A denoiser that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.inner = Denoised(lambda x, t, cond: torch.tanh(x * cond + t[:, None] / 999), DiscreteVp.linear(), V())

    def __call__(self, x_t: Tensor, t: float | Tensor, cond: Tensor) -> Tensor:
        self.calls += 1
        return self.inner(x_t, t, cond)


@each_time
@pytest.mark.parametrize("batched", [False, True])
def test_scale_one_is_conditional_and_zero_unconditional(t: float | Tensor, batched: bool):
    denoiser = Counted().inner
    for scale, cond in ((1.0, COND), (0.0, NULL.expand(3, 4))):
        guided = ClassifierFree(scale=scale, null_cond=NULL, batched=batched)(denoiser)
        assert torch.equal(guided(X, t, COND), denoiser(X, t, cond))


@each_time
def test_batched_equals_unbatched_and_the_formula(t: float | Tensor):
    counted = Counted()
    both = ClassifierFree(scale=7.5, null_cond=NULL)(counted)(X, t, COND)
    assert counted.calls == 1
    twice = ClassifierFree(scale=7.5, null_cond=NULL, batched=False)(counted)(X, t, COND)
    assert counted.calls == 3
    torch.testing.assert_close(both, twice)
    uncond, cond = counted.inner(X, t, NULL.expand(3, 4)), counted.inner(X, t, COND)
    torch.testing.assert_close(both, uncond + 7.5 * (cond - uncond))


def test_guiding_x0_is_guiding_noise():
    path = DiscreteVp.linear()

    def network(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return torch.sin(x + cond)

    guided = ClassifierFree(scale=3.0, null_cond=NULL)(Denoised(network, path, Epsilon()))
    noise = network(X, torch.zeros(3), NULL) + 3.0 * (network(X, torch.zeros(3), COND) - network(X, X, NULL))
    expected = Epsilon().to_x0(noise, X, path.alpha(500.0), path.sigma(500.0))
    torch.testing.assert_close(guided(X, 500.0, COND), expected)


def test_conditions_may_be_nested():
    def denoiser(x: Tensor, t: object, cond: dict) -> Tensor:
        return x * cond["a"][:, None] + cond["b"][0] - cond["b"][1]

    def nested(value: float, count: int) -> dict:
        return {"a": torch.full((count,), value), "b": (torch.full((count, 1), value), torch.ones(count, 4))}

    for batched in (False, True):
        guidance = ClassifierFree(scale=2.0, null_cond=nested(1.0, 1), batched=batched)
        torch.testing.assert_close(guidance(denoiser)(X, 1.0, nested(3.0, 3)), denoiser(X, 1.0, nested(5.0, 3)))


@pytest.mark.parametrize("null", [None, torch.zeros(1, 5), torch.zeros(2, 4), {"a": NULL}])
def test_a_null_condition_of_another_shape_is_refused(null: object):
    with pytest.raises(RequestError, match="batched=False"):
        ClassifierFree(scale=2.0, null_cond=null)(Counted())(X, 5.0, COND)


def test_none_may_be_the_null_condition_of_a_network_that_takes_it():
    def denoiser(x: Tensor, t: object, cond: Tensor | None) -> Tensor:
        return x if cond is None else x + cond

    guided = ClassifierFree(scale=2.0, null_cond=None, batched=False)(denoiser)
    torch.testing.assert_close(guided(X, 1.0, COND), X + 2 * COND)


def test_interval_guides_inside_only():
    counted = Counted()
    inner = ClassifierFree(scale=4.0, null_cond=NULL, batched=False)
    guided = IntervalGuidance(guidance=inner, low=200.0, high=700.0)(counted)
    for t, calls in ((100.0, 1), (200.0, 2), (500.0, 2), (700.0, 2), (800.0, 1)):
        counted.calls = 0
        out = guided(X, t, COND)
        assert counted.calls == calls
        expected = inner(counted.inner)(X, t, COND) if calls == 2 else counted.inner(X, t, COND)
        assert torch.equal(out, expected)
    t = torch.tensor([100.0, 500.0, 800.0])
    each = torch.cat([guided(X[i : i + 1], float(t[i]), COND[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(guided(X, t, COND), each)


def test_interval_in_noise_levels():
    inner = ClassifierFree(scale=2.0, null_cond=NULL)
    exact = IntervalGuidance.of_sigma(inner, 0.19, 1.61, Edm())
    assert (exact.low, exact.high) == pytest.approx((0.19, 1.61))
    path = DiscreteVp.linear()
    interval = IntervalGuidance.of_sigma(inner, 0.19, 1.61, path)
    assert path.sigma(interval.low) / path.alpha(interval.low) == pytest.approx(0.19, rel=1e-4)
    assert path.sigma(interval.high) / path.alpha(interval.high) == pytest.approx(1.61, rel=1e-4)


def test_clipped_keeps_the_range():
    out = Clipped(low=-0.5, high=0.25)(lambda x, t, cond: x)(X, 1.0, None)
    assert torch.equal(out, X.clamp(-0.5, 0.25))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClassifierFree(scale=math.nan, null_cond=None),
        lambda: IntervalGuidance(guidance=Clipped(), low=2.0, high=1.0),
        lambda: IntervalGuidance.of_sigma(Clipped(), 0.0, 1.0, Edm()),
        lambda: Clipped(low=1.0, high=1.0),
    ],
)
def test_impossible_guidance_is_refused(make):
    with pytest.raises(RequestError, match="must be"):
        make()
