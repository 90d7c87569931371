"""How much each noise level counts in training (weightings), and how often it is drawn (time samplers)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.paths import Path
from bottega.processes.diffusion.predictions import Epsilon, Prediction


class Weighting(Protocol):
    """How much each noise level counts."""

    def __call__(self, alpha: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
        """The weight (b,) on the squared error of the network's output, for coefficients of shape (b,)."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Uniform:
    """Weight 1 on the squared error of whatever the network predicts ("simple" loss, arXiv:2006.11239 equation 14)."""

    def __call__(self, alpha: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
        """Ones."""
        return torch.ones_like(sigma)


@final
@dataclass(frozen=True, slots=True)
class MinSnr:
    """min(SNR, gamma) on the squared error of x0, whatever the network predicts.

    That is min(SNR, gamma) / SNR for noise and min(SNR, gamma) / (SNR + 1) for v. Where SNR is exactly 0 (zero
    terminal SNR) the weight on the output is 1, as in the authors' code: 0 would leave pure noise untrained.

    Args:
        gamma: The cap, above 0; the paper's is 5.

    Source: arXiv:2303.09556 section 3.4.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.gamma < math.inf:
            raise RequestError.of("gamma", self.gamma, "above 0 and finite")

    def __call__(self, alpha: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
        """The weight on the output's squared error."""
        return _on_output(((alpha / sigma) ** 2).clamp(max=self.gamma), alpha, sigma, prediction)


@final
@dataclass(frozen=True, slots=True)
class TruncatedSnr:
    """max(SNR, floor) on the squared error of x0: "truncated SNR" with floor 1, "max-SNR-gamma" with floor gamma.

    Args:
        floor: The least weight, above 0; the paper's is 1.

    Source: arXiv:2202.00512 section 4; arXiv:2303.09556 section 3.4, where it is one of those compared.
    """

    floor: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.floor < math.inf:
            raise RequestError.of("floor", self.floor, "above 0 and finite")

    def __call__(self, alpha: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
        """The weight on the output's squared error."""
        return _on_output(((alpha / sigma) ** 2).clamp(min=self.floor), alpha, sigma, prediction)


@final
@dataclass(frozen=True, slots=True)
class SoftMinSnr:
    """The smooth form of `MinSnr`: 1 / (1 / SNR + 1 / gamma) on the squared error of x0.

    Args:
        gamma: The limit at high SNR, above 0.

    Source: arXiv:2401.11605 section 3.4.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.gamma < math.inf:
            raise RequestError.of("gamma", self.gamma, "above 0 and finite")

    def __call__(self, alpha: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
        """The weight on the output's squared error."""
        snr = (alpha / sigma) ** 2
        return _on_output(snr * self.gamma / (snr + self.gamma), alpha, sigma, prediction)


@final
@dataclass(frozen=True, slots=True)
class InverseSnr:
    """1 / SNR on the squared error of x0: noise counts most. Source: arXiv:2303.09556 section 4.3, for comparison."""

    def __call__(self, alpha: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
        """The weight on the output's squared error."""
        return _on_output((sigma / alpha) ** 2, alpha, sigma, prediction)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class P2:
    """Perception prioritised: 1 / (k + SNR)^gamma on the squared error of the noise.

    Args:
        k: Above 0; the paper's is 1.
        gamma: At least 0, where 0 is `EvenIn(Epsilon())`; the paper's are 0.5 and 1.

    Source: arXiv:2204.00227 equation 8.
    """

    k: float = 1.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.k < math.inf and 0 <= self.gamma < math.inf):
            raise RequestError.of("k, gamma", (self.k, self.gamma), "k above 0 and gamma at least 0")

    def __call__(self, alpha: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
        """The weight on the output's squared error."""
        snr = (alpha / sigma) ** 2
        return _on_output(snr / (self.k + snr) ** self.gamma, alpha, sigma, prediction)


@final
@dataclass(frozen=True, slots=True)
class EvenIn:
    """Weight 1 on the squared error of a chosen quantity, whatever the network predicts.

    With the noise it is SNR on x0; with v, SNR + 1; with the velocity, (1 + sqrt(SNR))^2.

    Args:
        quantity: What all noise levels count alike in.

    Source: arXiv:2303.09556 section 3.4.
    """

    quantity: Prediction = Epsilon()  # noqa: RUF009 - frozen

    def __call__(self, alpha: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
        """The weight on the output's squared error."""
        return _on_output(self.quantity.error_factor(alpha, sigma), alpha, sigma, prediction)


@final
@dataclass(frozen=True, slots=True)
class EdmWeighting:
    """(s^2 + sigma_data^2) / (s sigma_data)^2 on the squared error of x0, where s = sigma / alpha.

    Args:
        sigma_data: Standard deviation of the data, above 0.

    Source: arXiv:2206.00364 table 1.
    """

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.sigma_data < math.inf:
            raise RequestError.of("sigma_data", self.sigma_data, "above 0 and finite")

    def __call__(self, alpha: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
        """The weight on the output's squared error."""
        weight = self.sigma_data**-2 + (alpha / sigma) ** 2
        return weight / prediction.error_factor(alpha, sigma)


def _on_output(weight: Tensor, alpha: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
    """A weight on the squared error of x0 as one on the output's; 1 where there is no signal (zero terminal SNR)."""
    return torch.where(alpha == 0, 1.0, weight / prediction.error_factor(alpha, sigma))


class TimeSampler(Protocol):
    """Draws training times."""

    def __call__(self, count: int, path: Path, generator: torch.Generator) -> Tensor:
        """`count` times on `path`, float64, on the generator's device."""
        ...


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class UniformTimes:
    """Times that cover the path evenly (`Path.training_time`).

    Args:
        stratified: One draw in each of `count` equal strata (low discrepancy, arXiv:2107.00630 appendix I.1) instead
            of independent draws; the loss varies less from batch to batch. Sample i then lies in a moving stratum.
    """

    stratified: bool = False

    def __call__(self, count: int, path: Path, generator: torch.Generator) -> Tensor:
        """The times."""
        return path.training_time(_unit(count, generator, self.stratified))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LogitNormalTimes:
    """Times whose place on the path is sigmoid of a normal: more of the middle. Source: arXiv:2403.03206 section 3.1.

    Args:
        mean: Location of the normal; above 0 leans to noise.
        std: Its scale, above 0.
        stratified: As in `UniformTimes`.
    """

    mean: float = 0.0
    std: float = 1.0
    stratified: bool = False

    def __post_init__(self) -> None:
        _check_normal(self.mean, self.std)

    def __call__(self, count: int, path: Path, generator: torch.Generator) -> Tensor:
        """The times."""
        return path.training_time(torch.sigmoid(self.mean + self.std * _normal(count, generator, self.stratified)))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class EdmTimes:
    """Times at which sigma / alpha is log-normal. Source: arXiv:2206.00364 table 1.

    Args:
        mean: Mean of log(sigma / alpha).
        std: Its standard deviation, above 0.
        stratified: As in `UniformTimes`.
    """

    mean: float = -1.2
    std: float = 1.2
    stratified: bool = False

    def __post_init__(self) -> None:
        _check_normal(self.mean, self.std)

    def __call__(self, count: int, path: Path, generator: torch.Generator) -> Tensor:
        """The times."""
        log_sigma = self.mean + self.std * _normal(count, generator, self.stratified)
        return path.time_of_log_snr(-2.0 * log_sigma)


def _check_normal(mean: float, std: float) -> None:
    if not math.isfinite(mean):
        raise RequestError.of("mean", mean, "finite")
    if not 0 < std < math.inf:
        raise RequestError.of("std", std, "above 0 and finite")


def _unit(count: int, generator: torch.Generator, stratified: bool) -> Tensor:
    """Numbers in [0, 1): independent, or one in each stratum, all moved by one random shift."""
    device = generator.device
    if not stratified:
        return torch.rand(count, generator=generator, dtype=torch.float64, device=device)
    shift = torch.rand((), generator=generator, dtype=torch.float64, device=device)
    return (shift + torch.arange(count, dtype=torch.float64, device=device) / count) % 1.0


def _normal(count: int, generator: torch.Generator, stratified: bool) -> Tensor:
    if not stratified:
        return torch.randn(count, generator=generator, dtype=torch.float64, device=generator.device)
    smallest = torch.finfo(torch.float64).eps
    return torch.special.ndtri(_unit(count, generator, stratified).clamp(smallest, 1.0 - smallest))
