"""What a sampler itself costs in a step, beside diffusers' schedulers, with a network that costs nothing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from benchmarks.measure import Outcome, Row, median_ratio, medians, take_turns
from bottega.processes.diffusion import Ddim, Denoised, DiscreteVp, DpmSolverPp2m, Epsilon, TrailingGrid

STEPS, ROUNDS, SHAPE = 50, 41, (1, 4, 32, 32)
BETAS = {
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "timestep_spacing": "trailing",
}  # fmt: skip


def run() -> Outcome:
    """DDIM and DPM-Solver++ 2M, ours (planning included) and the peer's (`set_timesteps` not counted)."""
    noise, x = (torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    path = DiscreteVp.scaled_linear()
    denoiser, times = Denoised(lambda state, t, cond: noise, path, Epsilon()), TrailingGrid(STEPS)(path)
    ddim = DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=True)
    dpm = DPMSolverMultistepScheduler(
        **BETAS, algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero", lower_order_final=True
    )
    for scheduler in (ddim, dpm):
        scheduler.set_timesteps(STEPS)
    with torch.inference_mode():
        ways = {
            "peer ddim": lambda: _peer(ddim, x, noise),
            "ddim": lambda: Ddim()(denoiser, x, times, path),
            "peer dpm": lambda: _peer(dpm, x, noise),
            "dpm": lambda: DpmSolverPp2m()(denoiser, x, times, path),
            "floor": lambda: _floor(x, noise),
        }
        errors = {name: _difference(ways[f"peer {name}"], ways[name]) for name in ("ddim", "dpm")}
        assert max(errors.values()) < 1e-3, errors
        seconds = take_turns(ways, ROUNDS)
    middle = medians(seconds)

    def row(what: str, name: str) -> Row:
        peer = f"peer {name}"
        note = f"{middle[name] / middle['floor']:.1f} times the floor"
        return Row(
            what=what, value=1e6 * middle[name] / STEPS, unit="µs a step", peer=1e6 * middle[peer] / STEPS,
            ratio=median_ratio(seconds[peer], seconds[name]), note=note,
        )  # fmt: skip

    method = (
        f"{STEPS} steps on a state of {SHAPE}, 16 kB: a step moves at least 48 kB and makes about 12 kFLOP, so "
        f"operators' overhead is all there is. The floor is the two multiply-adds of a first-order step. Medians "
        f"of {ROUNDS} rounds in turns. End states agree to {max(errors.values()):.0e}."
    )
    rows = (
        row("DDIM", "ddim"),
        row("DPM-Solver++ 2M", "dpm"),
        Row(what="floor", value=1e6 * middle["floor"] / STEPS, unit="µs a step"),
    )
    return Outcome(
        name="sampler_overhead", title="Samplers' own cost against diffusers", method=method, rows=rows,
        details={"seconds": seconds, "errors": errors},
    )  # fmt: skip


def _peer(scheduler: DDIMScheduler | DPMSolverMultistepScheduler, x: Tensor, noise: Tensor) -> Tensor:
    if isinstance(scheduler, DPMSolverMultistepScheduler):
        scheduler.model_outputs, scheduler.lower_order_nums = [None, None], 0
        scheduler._step_index = None
    for t in scheduler.timesteps:
        x = scheduler.step(noise, t, x).prev_sample
    return x


def _floor(x: Tensor, noise: Tensor) -> Tensor:
    for _ in range(STEPS):
        x0 = torch.mul(x, 1.01).add_(noise, alpha=-0.1)
        x = torch.mul(x, 0.99).add_(x0, alpha=0.01)
    return x


def _difference(one: Callable[[], Tensor], other: Callable[[], Tensor]) -> float:
    a, b = one(), other()
    return float((a - b).abs().max() / b.abs().max())
