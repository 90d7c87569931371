"""What comparisons with diffusers' schedulers share: paths, a nonlinear random network, and runs step by step."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bottega.processes.diffusion import X0, Denoiser, DiscreteVp, Epsilon, Path, V
from bottega.processes.diffusion.solvers import Solver

PATHS = {
    "linear": (DiscreteVp.linear(), {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}),
    "scaled_linear": (
        DiscreteVp.scaled_linear(),
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    ),
}
PREDICTIONS = {"epsilon": Epsilon(), "sample": X0(), "v_prediction": V()}
STEPS = 20
TOLERANCE = 1e-5


class Toy(torch.nn.Module):
    """A network that depends on the state, nonlinearly, and on the time."""

    def __init__(self, unit: float = 1000.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.weight = torch.nn.Parameter(0.4 * torch.randn(12, 12, generator=generator))
        self.unit = unit

    def forward(self, x: Tensor, t: Tensor, cond: object = None) -> Tensor:
        moved = x.flatten(1) @ self.weight + torch.sin(5 * t / self.unit).reshape(-1, 1)
        return (1.5 * torch.tanh(moved)).reshape(x.shape)


def start(seed: int = 3) -> Tensor:
    return torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(seed))


def in_double(scheduler):
    """The peer with its own betas accumulated in double: its float32 1 - alphas_cumprod is wrong by 7e-5 near t = 0."""
    first = scheduler.alphas_cumprod[0]
    scheduler.alphas_cumprod = (1 - scheduler.betas.double()).cumprod(0)
    for name in ("final_alpha_cumprod", "initial_alpha_cumprod"):  # of DDIM and of its inverse
        if getattr(scheduler, name, None) == first:
            setattr(scheduler, name, scheduler.alphas_cumprod[0])
    return scheduler


def states_of(
    solver: Solver, denoiser: Denoiser, x: Tensor, times: Sequence[float], path: Path, seed: int = 11
) -> list[Tensor]:
    """Our states after each step."""
    states: list[Tensor] = []
    generator = torch.Generator().manual_seed(seed)
    solver(denoiser, x, times, path, generator=generator, report=lambda i, n, x_t, x0: states.append(x_t.clone()))
    return states


def peer_states(scheduler, network: Callable, x: Tensor, *, seed: int = 11, **options) -> list[Tensor]:
    """The peer's states after each call of `step`, as its pipelines run it."""
    generator = torch.Generator().manual_seed(seed)
    if seed >= 0:
        options["generator"] = generator
    states = []
    for t in scheduler.timesteps:
        times = torch.full((x.shape[0],), float(t))
        output = network(scheduler.scale_model_input(x, t), times)
        x = scheduler.step(output, t, x, **options).prev_sample
        states.append(x)
    return states


def assert_equal_states(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs)
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True), 1):
        error = (mine - other).abs().max() / other.abs().max().clamp(min=1.0)
        assert error < TOLERANCE, f"step {number}: relative error {error:.1e}"
