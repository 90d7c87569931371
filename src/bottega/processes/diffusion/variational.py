"""The variational bound of a diffusion model, and noise schedules that are learned with it.

gamma(t) = -log SNR rises over 0 <= t <= 1; alpha^2 = sigmoid(-gamma) and sigma^2 = sigmoid(gamma). In continuous time
the bound depends on the ends of gamma alone; its interior only changes how much a Monte-Carlo estimate varies, and is
learned to make it vary least. All losses are in nats for each sample.

Source: arXiv:2107.00630 (VDM); arXiv:2303.00848 (weighted bounds, "VDM++").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.errors import RequestError
from bottega.processes.diffusion.paths import TimeT

LEVELS = 256
"""Values of a channel of a picture."""

LEAD = 1e-3
"""Time from a learned path's least noisy trained time, 0, back to pure data."""


class Schedule(nn.Module):
    """gamma(t) = low + (high - low) place(t), where place rises from 0 to 1 and its interior may be learned.

    Args:
        low: gamma at 0, least noise; -13.3 leaves a 256-level picture readable.
        high: gamma at 1.
        features: Hidden units of the monotone network of the interior; 0 leaves it straight.
        learn_ends: Whether `low` and `high` are parameters.

    Source: arXiv:2107.00630 appendix H: a network with positive weights, 1 to 1024 to 1, brought to the ends.
    """

    def __init__(self, low: float = -13.3, high: float = 5.0, *, features: int = 1024, learn_ends: bool = True) -> None:
        super().__init__()
        if not -math.inf < low < high < math.inf:
            raise RequestError.of("low, high", (low, high), "low < high, both finite")
        self.ends = nn.Parameter(torch.tensor([low, high]), requires_grad=learn_ends)
        self.interior = MonotoneNet(features) if features else None

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Gamma and its slope d gamma / dt at times `t` of shape (b,), in t's dtype."""
        place, slope = self.place(t)
        return self.at(place), slope * self.span(place)

    def place(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The interior alone: its value, 0 to 1, and its slope."""
        if self.interior is None:
            return t, torch.ones_like(t)
        raw, slope = self.interior(torch.cat([t, t.new_tensor([0.0, 1.0])]))
        height = raw[-1] - raw[-2]
        return (raw[:-2] - raw[-2]) / height, slope[:-2] / height

    def at(self, place: Tensor) -> Tensor:
        """Gamma where the interior has this value."""
        return self.ends[0].to(place.dtype) + place * self.span(place)

    def span(self, like: Tensor) -> Tensor:
        """Gamma's rise from 0 to 1."""
        low, high = self.ends.to(like.dtype)
        return high - low


class MonotoneNet(nn.Module):
    """A rising function of one number: |a| t + mean(|c| tanh((|b| (2 t - 1) + d) / 2)), with its slope."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.straight = nn.Parameter(torch.ones(()))
        self.rate = nn.Parameter(torch.randn(features) / math.sqrt(features) * 4)
        self.shift = nn.Parameter(torch.randn(features))
        self.height = nn.Parameter(torch.randn(features) * 0.1)

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Value and slope at `t` of shape (b,), in t's dtype."""
        straight, rate, shift, height = (
            part.to(t.dtype) for part in (self.straight.abs(), self.rate.abs(), self.shift, self.height.abs())
        )
        wave = torch.tanh((rate * (2 * t[:, None] - 1) + shift) / 2)
        return straight * t + (height * wave).mean(1), straight + (height * rate * (1 - wave**2)).mean(1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class LearnedVp:
    """A learned schedule as a path: variance-preserving, 0 <= t <= 1, with its weights as they are now.

    Times from `-LEAD` to 0 lead from pure data to the least noise that was trained.
    """

    schedule: Schedule

    @property
    def t_min(self) -> float:
        """The least noisy trained time."""
        return 0.0

    @property
    def t_max(self) -> float:
        """The noisiest time."""
        return 1.0

    @property
    def t_clean(self) -> float:
        """The time of pure data."""
        return -LEAD

    def gamma(self, t: TimeT) -> TimeT:
        """-log SNR; minus infinity at the clean end."""
        if not isinstance(t, Tensor):
            return self.gamma(torch.tensor([float(t)], dtype=torch.float64)).item()
        t = t.detach().to(torch.float64)
        device = self.schedule.ends.device
        inside = self.schedule(t.clamp(0.0, 1.0).flatten().to(device))[0].detach().reshape(t.shape).to(t.device)
        return inside + torch.log1p(t.clamp(-LEAD, 0.0) / LEAD)

    def alpha(self, t: TimeT) -> TimeT:
        """sqrt(sigmoid(-gamma))."""
        return _root_sigmoid(_negative(self.gamma(t)))

    def sigma(self, t: TimeT) -> TimeT:
        """sqrt(sigmoid(gamma))."""
        return _root_sigmoid(self.gamma(t))

    def drift(self, t: TimeT) -> TimeT:
        """Half of minus gamma' sigma^2: the logarithmic derivative of alpha."""
        return -0.5 * self.diffusion_squared(t)

    def diffusion_squared(self, t: TimeT) -> TimeT:
        """Gamma' sigma^2, the variance that comes in per unit of time; finite at the clean end, too."""
        if not isinstance(t, Tensor):
            return self.diffusion_squared(torch.tensor([float(t)], dtype=torch.float64)).item()
        times = t.detach().to(torch.float64)
        device = self.schedule.ends.device
        gamma, slope = (part.detach() for part in self.schedule(times.clamp(0.0, 1.0).flatten().to(device)))
        gamma, slope = (part.reshape(t.shape).to(t.device) for part in (gamma, slope))
        lead = gamma.exp() / LEAD * torch.sigmoid(-self.gamma(times))  # gamma' grows there as sigma^2 falls
        return torch.where(times < 0.0, lead, slope * torch.sigmoid(gamma))

    def log_snr(self, t: TimeT) -> TimeT:
        """-gamma."""
        return _negative(self.gamma(t))

    def time_of_log_snr(self, log_snr: TimeT) -> TimeT:
        """The inverse of `log_snr`, by bisection."""
        if not isinstance(log_snr, Tensor):
            return self.time_of_log_snr(torch.tensor([float(log_snr)], dtype=torch.float64)).item()
        wanted = -log_snr.to(torch.float64)
        low, high = torch.full_like(wanted, -LEAD), torch.ones_like(wanted)
        for _ in range(60):
            middle = (low + high) / 2
            below = self.gamma(middle) < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    def scale(self, t: TimeT) -> TimeT:
        """The signal's factor."""
        return self.alpha(t)

    def training_time(self, u: Tensor) -> Tensor:
        """The number itself."""
        return u.to(torch.float64)


class BoundWeight(Protocol):
    """How much each noise level counts in a weighted bound.

    Where it never falls with t, the weighted bound is an expected bound on noisy copies of the data.
    Source: arXiv:2303.00848 section 4.
    """

    def __call__(self, gamma: Tensor) -> Tensor:
        """The weight w(lambda) at lambda = -gamma."""
        ...


@final
@dataclass(frozen=True, slots=True)
class PlainBound:
    """Weight 1: the bound itself."""

    def __call__(self, gamma: Tensor) -> Tensor:
        """Ones."""
        return torch.ones_like(gamma)


@final
@dataclass(frozen=True, slots=True)
class SigmoidBound:
    """sigmoid(bias - lambda): rises with t. Source: arXiv:2303.00848 section 5, where the bias is 2.

    Args:
        bias: lambda where the weight is a half.
    """

    bias: float = 2.0

    def __call__(self, gamma: Tensor) -> Tensor:
        """The weight."""
        return torch.sigmoid(self.bias + gamma)


NoisePredictor = Callable[[Tensor, Tensor], Tensor]
"""`(z (b, ...), gamma (b,))` to the noise in z."""


def diffusion_nats(
    predict: NoisePredictor,
    x: Tensor,
    t: Tensor,
    noise: Tensor,
    schedule: Schedule,
    *,
    steps: int | None = None,
    weight: BoundWeight = PlainBound(),  # noqa: B008 - frozen
    least_variance: bool = True,
) -> Tensor:
    """The diffusion part of the bound, one Monte-Carlo sample for each x: `(b,)`.

    Gradients of the mean lower the bound through the network and the schedule's ends. Through the schedule's interior
    they lower the estimate's variance instead, as that is all that the interior can do (in discrete time it can do
    more, and is moved by the bound too).

    Args:
        predict: The noise predictor.
        x: Data `(b, ...)`.
        t: Times in [0, 1], `(b,)`.
        noise: Standard normal, of x's shape.
        schedule: The schedule.
        steps: T of the discrete-time bound, in which t is rounded up to i / T; None is continuous time.
        weight: What each noise level counts; `PlainBound` is the bound itself.
        least_variance: False gives the interior the bound's own gradient in continuous time too.

    Source: arXiv:2107.00630 equations 13 (discrete) and 17 (continuous), appendix I.2; arXiv:2303.00848 equation 3.
    """
    if steps is not None:
        t = torch.ceil(t * steps).clamp(1, steps) / steps
    place, slope = schedule.place(t)
    share = torch.ones_like(place)
    if least_variance and steps is None:
        for part in (place, slope):
            if part.requires_grad:
                part.register_hook(lambda gradient: gradient * share)
    gamma = schedule.at(place)
    rate = slope * schedule.span(place) if steps is None else steps * torch.expm1(gamma - schedule(t - 1 / steps)[0])
    shape = (-1, *[1] * (x.ndim - 1))
    level = gamma.to(x.dtype).reshape(shape)
    z = torch.sqrt(torch.sigmoid(-level)) * x + torch.sqrt(torch.sigmoid(level)) * noise
    error = (noise - predict(z, gamma.to(x.dtype))).float().square().flatten(1).sum(1)
    found = 0.5 * weight(gamma) * rate * error
    with torch.no_grad():
        share.copy_((found / found.mean().clamp(min=torch.finfo(found.dtype).tiny)).to(share.dtype))
    return found


def prior_nats(x: Tensor, schedule: Schedule) -> Tensor:
    """KL from q(z_1 | x) to the standard normal, `(b,)`. Source: arXiv:2107.00630 equation 11."""
    gamma = schedule.at(torch.ones(1, device=x.device))
    variance = torch.sigmoid(gamma)
    kl = 0.5 * ((1 - variance) * x.float().square() + variance - F.logsigmoid(gamma) - 1)
    return kl.flatten(1).sum(1)


def reconstruction_nats(levels: Tensor, noise: Tensor, schedule: Schedule) -> Tensor:
    """-log p(x | z_0) of pictures of 256 levels, `(b,)`: each channel's level by its distance to z_0 / alpha_0.

    Args:
        levels: Integers 0 to 255, `(b, ...)`.
        noise: Standard normal, of the same shape.
        schedule: The schedule.

    Source: arXiv:2107.00630 equation 12 and appendix C.
    """
    gamma = schedule.at(torch.zeros(1, device=levels.device))
    spread = torch.exp(0.5 * gamma)
    seen = from_levels(levels) + spread * noise
    logits = level_logits(seen, spread)
    return F.cross_entropy(logits.reshape(-1, LEVELS), levels.flatten().long(), reduction="none").reshape(
        len(levels), -1
    ).sum(1)  # fmt: skip


def level_logits(seen: Tensor, spread: Tensor) -> Tensor:
    """Unnormalised log probabilities of the 256 levels `(..., 256)` of values seen with a normal error."""
    values = from_levels(torch.arange(LEVELS, device=seen.device))
    return -0.5 * ((seen.unsqueeze(-1) - values) / spread).square()


def from_levels(levels: Tensor) -> Tensor:
    """Levels 0 to 255 to the middles of 256 equal parts of [-1, 1]."""
    return (levels.float() + 0.5) * (2 / LEVELS) - 1


def to_levels(x: Tensor) -> Tensor:
    """The nearest levels of values in [-1, 1]."""
    return ((x + 1) * (LEVELS / 2) - 0.5).round().clamp(0, LEVELS - 1).long()


def bits_per_dim(nats: Tensor, dims: int) -> Tensor:
    """Nats for each sample as bits for each of its numbers."""
    return nats / (dims * math.log(2))


def _negative(x: TimeT) -> TimeT:
    return -x


def _root_sigmoid(x: TimeT) -> TimeT:
    """sqrt(sigmoid(x)) without loss of digits at either end."""
    if isinstance(x, Tensor):
        return torch.exp(0.5 * F.logsigmoid(x))
    return _root_sigmoid(torch.tensor(x, dtype=torch.float64)).item()
