"""Solvers at their theoretical order on a Gaussian mixture, whose denoiser is known exactly."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from bottega.processes.diffusion import (
    CosineVp,
    Ddim,
    DiscreteVp,
    DpmSolverPp2m,
    Edm,
    Euler,
    Heun,
    Path,
    RectifiedFlow,
    Solver,
    Vp,
)


@dataclass(frozen=True)
class Mixture:
    """Isotropic Gaussians; called as a denoiser it gives the exact E[x0 | x_t]."""

    path: Path
    means: Tensor
    stds: Tensor
    weights: Tensor

    def __call__(self, x_t: Tensor, t: float, cond: object = None) -> Tensor:
        alpha, sigma = self.path.alpha(t), self.path.sigma(t)
        offset = x_t[:, None] - alpha * self.means
        variance = (alpha * self.stds) ** 2 + sigma**2
        log_density = -0.5 * offset.square().sum(-1) / variance - 0.5 * self.means.shape[1] * variance.log()
        share = torch.softmax(log_density + self.weights.log(), dim=1)
        inner = self.means + (alpha * self.stds**2 / variance)[:, None] * offset
        return (share[..., None] * inner).sum(1)


def mixture(path: Path, width: int) -> Mixture:
    means = torch.tensor([[-1.2, 0.4], [0.9, 1.0], [0.3, -1.1]], dtype=torch.float64)[:, :width]
    stds = torch.tensor([0.5, 0.35, 0.6], dtype=torch.float64)
    return Mixture(path, means, stds, torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64))


def smooth_times(path: Path, steps: int) -> list[float]:
    """Even in log-SNR between noise levels 20 and 0.1: a grid whose refinements show the order."""
    high, low = -2 * math.log(20.0), -2 * math.log(0.1)
    return [path.time_of_log_snr(high + (low - high) * i / steps) for i in range(steps + 1)]


def error_slope(solver: Solver, path: Path, width: int) -> float:
    """Minus the slope of log error over log steps, from 32 to 256 steps."""
    denoiser = mixture(path, width)
    truth_times = smooth_times(path, 2048)
    start = torch.linspace(-1.5, 1.5, 5 * width, dtype=torch.float64).reshape(5, width)
    start = path.sigma(truth_times[0]) * start
    truth = Heun()(denoiser, start, truth_times, path)
    counts = (32, 64, 128, 256)
    errors = [(solver(denoiser, start, smooth_times(path, n), path) - truth).norm().item() for n in counts]
    x = torch.tensor(counts, dtype=torch.float64).log()
    y = torch.tensor(errors, dtype=torch.float64).log()
    return -float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize(
    ("solver", "order"),
    [(Ddim(), 1), (Euler(), 1), (Heun(), 2), (DpmSolverPp2m(lower_order_final=False), 2)],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("path", [Vp(), CosineVp(t_max=0.999), Edm(), RectifiedFlow()], ids=lambda p: type(p).__name__)
def test_solvers_converge_at_their_order(path: Path, solver: Solver, order: int, width: int):
    assert error_slope(solver, path, width) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("solver", [Ddim(), Heun(), DpmSolverPp2m()], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    "path", [DiscreteVp.scaled_linear(), Vp(), Edm(), RectifiedFlow()], ids=lambda path: type(path).__name__
)
def test_samples_have_the_mixture_s_distribution(path: Path, solver: Solver):
    """4096 exact-noise starts: distances between quantiles of samples and of the mixture, 1-D."""
    denoiser = mixture(path, 1)
    times = [*smooth_times(path, 60)[10:], path.t_clean] if isinstance(path, DiscreteVp) else smooth_times(path, 60)
    generator = torch.Generator().manual_seed(5)
    pick = torch.multinomial(denoiser.weights, 4096, replacement=True, generator=generator)
    spread = torch.randn(4096, 1, generator=generator, dtype=torch.float64)
    data = denoiser.means[pick] + denoiser.stds[pick, None] * spread
    start = path.alpha(times[0]) * data.roll(1, 0) + path.sigma(times[0]) * torch.randn(
        4096, 1, generator=generator, dtype=torch.float64
    )
    samples = solver(denoiser, start, [*times[:-1], path.t_clean], path)
    places = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    distance = (samples.flatten().quantile(places) - data.flatten().quantile(places)).abs().mean()
    assert distance < 0.05
