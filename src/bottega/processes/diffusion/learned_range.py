"""Learned variances: a network that says, beside the noise, where each step's variance lies in its possible range.

The range reaches from the posterior's variance (right if the clean sample were known) to the forward step's (right if
nothing were known of it); the network's second half of channels, v in [-1, 1], is the place on the logarithmic scale.
Source: Nichol and Dhariwal, "Improved Denoising Diffusion", arXiv:2102.09672, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.paths import DiscreteVp, Path
from bottega.processes.diffusion.predictions import Denoised, Network, Prediction, Time
from bottega.processes.diffusion.solvers import Ask, Draw, Solver, Step


@final
@dataclass(frozen=True, slots=True)
class DenoisedRange:
    """A network of twice the channels as `(x_t, t, cond) -> [x0, v]`, joined along dimension 1.

    Guidance works on it as on a `Denoiser`; `RangedDdpm` samples from it.

    Args:
        network: `(x_t, t of shape (b,), cond) -> [output, v]` with twice the channels of x_t.
        path: The path that it was trained on.
        prediction: What the first half is.
    """

    network: Network
    path: Path
    prediction: Prediction

    def __call__(self, x_t: Tensor, t: Time, cond: Any = None) -> Tensor:
        """The clean sample expected at `x_t`, and beside it v."""
        places: list[Tensor] = []

        def first_half(x: Tensor, times: Tensor, told: Any) -> Tensor:  # noqa: ANN401 - the network's type
            output, place = self.network(x, times, told).chunk(2, dim=1)
            places.append(place)
            return output

        x0 = Denoised(first_half, self.path, self.prediction)(x_t, t, cond)
        return torch.cat((x0, places[0].to(x0.dtype)), dim=1)


class RangedStep(NamedTuple):
    """The step x <- a x + b x0(x, t) + exp(low + (v + 1) / 2 (high - low)) noise; the last one adds no noise."""

    t: float
    a: float
    b: float
    low: float
    high: float
    noisy: bool

    def take(self, x: Tensor, last_x0: Tensor, ask: Ask, draw: Draw) -> tuple[Tensor, Tensor]:
        """See `Step`."""
        x0, place = ask(x, self.t).chunk(2, dim=1)
        ahead = torch.mul(x0, self.b).add_(x, alpha=self.a)
        if self.noisy:
            std = torch.exp(place * (0.5 * (self.high - self.low)) + 0.5 * (self.high + self.low))
            ahead.addcmul_(std, draw(x))
        return ahead, x0


@final
@dataclass(frozen=True, slots=True)
class RangedDdpm(Solver):
    """Ancestral sampling with learned variances; the denoiser is a `DenoisedRange`, guided or not.

    A step that ends in clean data adds no noise.
    """

    def plan(self, times: Sequence[float], path: Path) -> Sequence[Step]:
        """x_s = (r sigma_s^2 x_t + alpha_s forward^2 x0) / sigma_t^2 + learned noise, r = alpha_t / alpha_s."""
        if len(times) < 2 or not all(t > s for t, s in pairwise(times)):
            raise RequestError.of("times", tuple(times)[:8], "at least two strictly falling numbers")
        return [_step(t, s, path) for t, s in pairwise(times)]


def _step(t: float, s: float, path: Path) -> RangedStep:
    alpha_t, sigma_t, alpha_s, sigma_s = path.alpha(t), path.sigma(t), path.alpha(s), path.sigma(s)
    ratio = alpha_t / alpha_s
    forward = math.sqrt(max(sigma_t**2 - (ratio * sigma_s) ** 2, 0.0))
    a, b = ratio * (sigma_s / sigma_t) ** 2, alpha_s * (forward / sigma_t) ** 2
    if sigma_s == 0.0:
        return RangedStep(t, a, b, 0.0, 0.0, noisy=False)
    return RangedStep(t, a, b, math.log(forward * sigma_s / sigma_t), math.log(forward), noisy=True)


def range_loss(place: Tensor, x0: Tensor, x_t: Tensor, predicted: Tensor, t: Tensor, path: DiscreteVp) -> Tensor:
    """The variational bound's term at each sample's time, which trains v and nothing else.

    Args:
        place: v, of x0's shape.
        x0: Clean samples `(b, ...)` in [-1, 1] in 256 levels, or latents, which are treated alike.
        x_t: Their noisy states at `t`.
        predicted: The clean samples that the network expects; no gradient flows into them.
        t: Whole indices `(b,)` of the path.
        path: The path, whose steps are those of training.

    Returns:
        `(b,)`, bits for each number: a Kullback-Leibler divergence, at index 0 the likelihood of the sample's level.

    Source: arXiv:2102.09672 equations 4 to 7 and section 3.1; arXiv:2006.11239 equation 13.
    """
    shape = (-1, *[1] * (x0.ndim - 1))
    later, sooner = t.to(torch.float64), t.to(torch.float64) - 1
    alpha_t, alpha_s = path.alpha(later), path.alpha(sooner)
    power_t, power_s = path.sigma(later) ** 2, path.sigma(sooner) ** 2
    forward = power_t - (alpha_t / alpha_s) ** 2 * power_s
    least = _posterior_power(torch.ones_like(later), path)  # at index 0 the posterior is certain: index 1's instead
    low = torch.where(later > 0, forward * power_s / power_t, least).log()
    mean_factor, low, high = (
        part.to(x0.dtype).reshape(shape) for part in (alpha_s * forward / power_t, low, forward.log())
    )
    log_power = low + (place + 1) / 2 * (high - low)
    gap = mean_factor * (x0 - predicted.detach())  # the means differ by x0's part alone
    divergence = 0.5 * (log_power - low + torch.exp(low - log_power) - 1 + gap**2 * torch.exp(-log_power))
    level = -_log_level(x0, x0 - gap, 0.5 * log_power)
    is_first = (t == 0).reshape(shape)
    return torch.where(is_first, level, divergence).flatten(1).mean(1) / math.log(2.0)


def _posterior_power(t: Tensor, path: DiscreteVp) -> Tensor:
    power_t, power_s = path.sigma(t) ** 2, path.sigma(t - 1) ** 2
    return (power_t - (path.alpha(t) / path.alpha(t - 1)) ** 2 * power_s) * power_s / power_t


def _log_level(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log of a normal's mass on x's level, 1 / 255 to both sides; the outermost levels take the tails."""
    scaled = (x - mean) * torch.exp(-log_std)
    half = torch.exp(-log_std) / 255.0
    upper, lower = _normal_cdf(scaled + half), _normal_cdf(scaled - half)
    upper = torch.where(x > 0.999, 1.0, upper)
    lower = torch.where(x < -0.999, 0.0, lower)
    return (upper - lower).clamp(min=1e-12).log()


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(x / math.sqrt(2.0)))
