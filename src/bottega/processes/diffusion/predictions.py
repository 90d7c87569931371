"""What a network predicts, and how its output becomes the one thing that everything else uses: x0.

Every prediction is linear in (x0, x_t), so a squared error of the output is a factor times the squared error of x0.
Throughout x_t = alpha x0 + sigma noise; `alpha` and `sigma` are floats, or tensors that broadcast to the state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn

from bottega.errors import RequestError
from bottega.processes.diffusion.paths import Path

Coefficient = float | Tensor
Time = float | Tensor
Network = Callable[[Tensor, Tensor, Any], Tensor]
Denoiser = Callable[[Tensor, Time, Any], Tensor]


class Prediction(Protocol):
    """A parameterisation of the network's output."""

    def to_x0(self, output: Tensor, x_t: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """The clean sample that the output stands for."""
        ...

    def from_x0(self, x0: Tensor, x_t: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """The output that stands for `x0`: the inverse of `to_x0`."""
        ...

    def target(self, x0: Tensor, noise: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """The right output for clean data and the noise that was added."""
        ...

    def error_factor(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Squared error of the output over squared error of x0."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Epsilon:
    """The noise. Cannot give x0 where alpha is 0. Source: arXiv:2006.11239 equation 11."""

    def to_x0(self, output: Tensor, x_t: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """(x_t - sigma eps) / alpha."""
        return _combine(x_t, output, 1.0 / alpha, -sigma / alpha)

    def from_x0(self, x0: Tensor, x_t: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """(x_t - alpha x0) / sigma."""
        return _combine(x_t, x0, 1.0 / sigma, -alpha / sigma)

    def target(self, x0: Tensor, noise: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """The noise."""
        return noise

    def error_factor(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The signal-to-noise ratio."""
        return (alpha / sigma) ** 2


@final
@dataclass(frozen=True, slots=True)
class X0:
    """The clean sample itself."""

    def to_x0(self, output: Tensor, x_t: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """The output."""
        return output

    def from_x0(self, x0: Tensor, x_t: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """x0."""
        return x0

    def target(self, x0: Tensor, noise: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """x0."""
        return x0

    def error_factor(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """One."""
        return torch.ones_like(sigma)


@final
@dataclass(frozen=True, slots=True)
class V:
    """alpha noise - sigma x0. Source: arXiv:2202.00512 appendix D; here for any alpha and sigma, not only VP."""

    def to_x0(self, output: Tensor, x_t: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """(alpha x_t - sigma v) / (alpha^2 + sigma^2)."""
        power = alpha * alpha + sigma * sigma
        return _combine(x_t, output, alpha / power, -sigma / power)

    def from_x0(self, x0: Tensor, x_t: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """(alpha x_t - (alpha^2 + sigma^2) x0) / sigma."""
        return _combine(x_t, x0, alpha / sigma, -(alpha * alpha + sigma * sigma) / sigma)

    def target(self, x0: Tensor, noise: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """The difference alpha noise - sigma x0."""
        return _combine(noise, x0, alpha, -sigma)

    def error_factor(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """((alpha^2 + sigma^2) / sigma)^2, which is SNR + 1 on a VP path."""
        return ((alpha * alpha + sigma * sigma) / sigma) ** 2


@final
@dataclass(frozen=True, slots=True)
class Velocity:
    """noise - x0, the velocity of a rectified flow whose time runs to noise. Source: arXiv:2209.03003, 2403.03206."""

    def to_x0(self, output: Tensor, x_t: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """(x_t - sigma v) / (alpha + sigma)."""
        total = alpha + sigma
        return _combine(x_t, output, 1.0 / total, -sigma / total)

    def from_x0(self, x0: Tensor, x_t: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """(x_t - (alpha + sigma) x0) / sigma."""
        return _combine(x_t, x0, 1.0 / sigma, -(alpha + sigma) / sigma)

    def target(self, x0: Tensor, noise: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """The difference noise - x0."""
        return noise - x0

    def error_factor(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """((alpha + sigma) / sigma)^2."""
        return ((alpha + sigma) / sigma) ** 2


@final
@dataclass(frozen=True, slots=True)
class Score:
    """The gradient of log p_t, -noise / sigma. Source: arXiv:2011.13456 section 3.3."""

    def to_x0(self, output: Tensor, x_t: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """(x_t + sigma^2 score) / alpha."""
        return _combine(x_t, output, 1.0 / alpha, sigma * sigma / alpha)

    def from_x0(self, x0: Tensor, x_t: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """(alpha x0 - x_t) / sigma^2."""
        return _combine(x_t, x0, -1.0 / (sigma * sigma), alpha / (sigma * sigma))

    def target(self, x0: Tensor, noise: Tensor, alpha: Coefficient, sigma: Coefficient) -> Tensor:
        """-noise / sigma."""
        return -noise / sigma

    def error_factor(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """alpha^2 / sigma^4."""
        return (alpha / (sigma * sigma)) ** 2


@final
@dataclass(frozen=True, slots=True)
class Denoised:
    """Any network as a `Denoiser`: `(x_t, t, cond) -> x0`.

    The network is called with x_t, one float32 time for each sample, and cond. x0 comes back in float32, or in
    float64 for a float64 state: half precision ends at the network's output.

    Args:
        network: `(x_t, t of shape (b,), cond) -> output` of x_t's shape.
        path: The path that it was trained on.
        prediction: What its output is.
    """

    network: Network
    path: Path
    prediction: Prediction

    def __call__(self, x_t: Tensor, t: Time, cond: Any = None) -> Tensor:
        """The clean sample expected at state `x_t` and time `t` (a float for all, or a tensor of shape (b,))."""
        if isinstance(t, Tensor):
            output = self.network(x_t, t.to(torch.float32), cond)
            alpha, sigma = coefficients_like(x_t, t, self.path)
            return self.prediction.to_x0(at_least_float(output), at_least_float(x_t), alpha, sigma)
        times = torch.full((x_t.shape[0],), t, dtype=torch.float32, device=x_t.device)
        output = self.network(x_t, times, cond)
        alpha, sigma = self.path.alpha(t), self.path.sigma(t)
        if alpha == 0.0 and isinstance(self.prediction, Epsilon | Score):
            raise RequestError.of("t", t, "a time with some signal left", "pure noise needs X0, V or Velocity")
        return self.prediction.to_x0(at_least_float(output), at_least_float(x_t), alpha, sigma)


@final
class EdmPreconditioned(nn.Module):
    """A raw network F as one that predicts x0: c_skip x + c_out F(c_in x, c_noise, cond). Use it with `X0` and `Edm`.

    Args:
        network: `(scaled x, c_noise of shape (b,), cond) -> tensor` of x's shape.
        sigma_data: Standard deviation of the data.

    Source: arXiv:2206.00364 table 1.
    """

    def __init__(self, network: nn.Module, sigma_data: float = 0.5) -> None:
        super().__init__()
        if not sigma_data > 0:
            raise RequestError.of("sigma_data", sigma_data, "above 0")
        self.network = network
        self.sigma_data = sigma_data

    def forward(self, x_t: Tensor, sigma: Tensor, cond: Any = None) -> Tensor:
        """The denoised sample for noise levels `sigma` of shape (b,)."""
        data = self.sigma_data
        level = sigma.to(torch.float32).reshape(-1, *[1] * (x_t.ndim - 1))
        power = level**2 + data**2
        scaled = (x_t / power.sqrt()).to(x_t.dtype)
        output = self.network(scaled, sigma.to(torch.float32).log() / 4, cond)
        return (data**2 / power) * x_t + (level * data / power.sqrt()) * output


def coefficients_like(x: Tensor, t: Tensor, path: Path) -> tuple[Tensor, Tensor]:
    """The path's alpha and sigma at times `t` of shape (b,), shaped to broadcast over `x`, in at least float32."""
    shape = (-1, *[1] * (x.ndim - 1))
    dtype = torch.promote_types(x.dtype, torch.float32)
    return path.alpha(t).to(dtype).reshape(shape), path.sigma(t).to(dtype).reshape(shape)


def at_least_float(x: Tensor) -> Tensor:
    """The tensor in float32 or wider; the same tensor if it is already."""
    return x if x.dtype in {torch.float32, torch.float64} else x.float()


def _combine(x: Tensor, y: Tensor, a: Coefficient, b: Coefficient) -> Tensor:
    """The sum a x + b y in a new tensor; two operations for float coefficients."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a * x + b * y
    return torch.mul(x, a).add_(y, alpha=b)
