"""What a sampler itself costs in a step, beside diffusers' schedulers, with a network that costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from benchmarks.measure import Outcome, Row, median_ratio, medians, take_turns
from bottega.processes.diffusion import (
    Ddim,
    Ddpm,
    Deis,
    Denoised,
    DiscreteVp,
    DpmMultistep,
    DpmSinglestep,
    DpmSolverPp2m,
    Epsilon,
    Euler,
    Heun,
    Nodes,
    Plms,
    Pndm,
    Solver,
    Target,
    TrailingGrid,
    UniPc,
)

STEPS, ROUNDS, SHAPE = 50, 21, (1, 4, 32, 32)
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
TRAILING = {"timestep_spacing": "trailing"}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A solver and the peer's scheduler of the same name.

    Args:
        ours: The solver.
        peer: Makes the scheduler.
        scaled: Whether the peer's states are x / alpha.
        alike: Whether the end states can be compared: the same grid to the same end, without noise.
    """

    ours: Solver
    peer: Callable[[], Any]
    scaled: bool = False
    alike: bool = True


PAIRS = {
    "DDIM": Pair(
        ours=Ddim(), peer=lambda: DDIMScheduler(**BETAS, **TRAILING, clip_sample=False, set_alpha_to_one=True)
    ),
    "DDPM": Pair(ours=Ddpm(), peer=lambda: DDPMScheduler(**BETAS, **TRAILING, clip_sample=False), alike=False),
    "Euler": Pair(ours=Euler(), peer=lambda: EulerDiscreteScheduler(**BETAS, **TRAILING), scaled=True),
    "Heun": Pair(ours=Heun(), peer=lambda: HeunDiscreteScheduler(**BETAS, **TRAILING), scaled=True),
    "PNDM": Pair(ours=Pndm(), peer=lambda: PNDMScheduler(**BETAS, set_alpha_to_one=True), alike=False),
    "PLMS": Pair(
        ours=Plms(), peer=lambda: PNDMScheduler(**BETAS, **TRAILING, skip_prk_steps=True, set_alpha_to_one=True)
    ),
    "DPM-Solver-3": Pair(
        ours=DpmSinglestep(nodes=Nodes.GRID),
        peer=lambda: DPMSolverSinglestepScheduler(
            **BETAS, solver_order=3, algorithm_type="dpmsolver", final_sigmas_type="sigma_min", lower_order_final=True
        ),
        alike=False,
    ),
    "DPM-Solver++ 2S": Pair(
        ours=DpmSinglestep(order=2, target=Target.DATA, nodes=Nodes.GRID),
        peer=lambda: DPMSolverSinglestepScheduler(**BETAS, final_sigmas_type="zero", lower_order_final=True),
        alike=False,
    ),
    "DPM-Solver++ 2M": Pair(
        ours=DpmSolverPp2m(),
        peer=lambda: DPMSolverMultistepScheduler(**BETAS, **TRAILING, final_sigmas_type="zero"),
    ),
    "DPM-Solver++ 3M": Pair(
        ours=DpmMultistep(),
        peer=lambda: DPMSolverMultistepScheduler(**BETAS, **TRAILING, solver_order=3, final_sigmas_type="zero"),
    ),
    "DPM-Solver++ 2M SDE": Pair(
        ours=DpmMultistep(order=2, eta=1.0),
        peer=lambda: DPMSolverMultistepScheduler(**BETAS, **TRAILING, algorithm_type="sde-dpmsolver++"),
        alike=False,
    ),
    "DEIS": Pair(ours=Deis(), peer=lambda: DEISMultistepScheduler(**BETAS, **TRAILING, solver_order=3), alike=False),
    "UniPC": Pair(
        ours=UniPc(),
        peer=lambda: UniPCMultistepScheduler(**BETAS, **TRAILING, solver_order=3, final_sigmas_type="zero"),
    ),
}


def run() -> Outcome:
    """Every solver that diffusers has, ours and the peer's, each with its planning (`set_timesteps`)."""
    noise, x = (torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    path = DiscreteVp.scaled_linear()
    denoiser, times = Denoised(lambda state, t, cond: noise, path, Epsilon()), TrailingGrid(STEPS)(path)
    ways: dict[str, Callable[[], Tensor]] = {}
    for name, pair in PAIRS.items():
        scheduler = pair.peer()
        scheduler.set_timesteps(STEPS)
        scheduler.scale_model_input(x, scheduler.timesteps[0])  # without which some warn in every run
        lift = (scheduler.sigmas[0] ** 2 + 1) ** 0.5 if pair.scaled else 1.0
        ways[f"peer {name}"] = lambda scheduler=scheduler, lift=lift: _peer(scheduler, lift * x, noise)
        ways[name] = lambda solver=pair.ours: solver(denoiser, x, times, path)
    ways["floor"] = lambda: _floor(x, noise)
    with torch.inference_mode():
        errors = {name: _difference(ways[f"peer {name}"], ways[name]) for name, pair in PAIRS.items() if pair.alike}
        assert max(errors.values()) < 2e-3, errors
        seconds = take_turns(ways, ROUNDS)
    middle = medians(seconds)

    def row(name: str) -> Row:
        peer = f"peer {name}"
        note = f"{middle[name] / middle['floor']:.1f} times the floor"
        return Row(
            what=name, value=1e6 * middle[name] / STEPS, unit="µs a step", peer=1e6 * middle[peer] / STEPS,
            ratio=median_ratio(seconds[peer], seconds[name]), note=note,
        )  # fmt: skip

    method = (
        f"{STEPS} steps on a state of {SHAPE}, 16 kB: a step moves at least 48 kB and makes about 12 kFLOP, so "
        f"operators' overhead is all there is. The floor is the two multiply-adds of a first-order step. Medians "
        f"of {ROUNDS} rounds in turns, planning included on both sides. End states on the same grid agree to "
        f"{max(errors.values()):.0e}; step by step they are compared in the tests."
    )
    rows = (*map(row, PAIRS), Row(what="floor", value=1e6 * middle["floor"] / STEPS, unit="µs a step"))
    return Outcome(
        name="sampler_overhead", title="Samplers' own cost against diffusers", method=method, rows=rows,
        details={"seconds": seconds, "errors": errors},
    )  # fmt: skip


def _peer(scheduler: Any, x: Tensor, noise: Tensor) -> Tensor:  # noqa: ANN401 - the peer's classes share no base
    scheduler.set_timesteps(STEPS)
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
