"""Roll-outs of a mover, and what they teach the mover of the other direction."""

from __future__ import annotations

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.bridge.movers import Gammas, Mean, Move
from bottega.processes.diffusion import noise_like


@torch.no_grad()
def roll_out(
    mean: Mean, start: Tensor, gammas: Gammas, generator: torch.Generator | None = None, *, last_noise: bool = True
) -> Tensor:
    """The states of a mover from its start: `(N + 1, b, ...)`.

    Args:
        mean: The mover.
        start: Where it starts, `(b, ...)`.
        gammas: Half the variance of each step's noise.
        generator: Source of the noise.
        last_noise: Whether the last step adds noise: yes to train on, no for samples.
    """
    states = [start]
    for step, gamma in enumerate(gammas.values):
        x = mean(states[-1], step)
        if last_noise or step < gammas.steps - 1:
            x = x + (2 * gamma) ** 0.5 * noise_like(x, generator)
        states.append(x)
    return torch.stack(states)


def targets(path: Tensor, move: Move) -> tuple[Tensor, Tensor, Tensor]:
    """What the mover of the other direction should say along a roll-out, by the simplified target.

    Args:
        path: States `(N + 1, b, ...)` of a mover.
        move: What the other mover's network says.

    Returns:
        States `(N b, ...)`, the other mover's steps there `(N b,)`, and the right outputs.

    Source: arXiv:2403.14623 equations 11, 15 and 17.
    """
    steps, count = len(path) - 1, path.shape[1]
    seen, before = path[1:], path[:-1]
    gone = torch.arange(1, steps + 1, dtype=path.dtype, device=path.device)
    match move:
        case Move.STATE:
            wanted = before
        case Move.TERMINAL:
            wanted = path[:1].expand_as(seen)
        case Move.FLOW:
            wanted = (path[:1] - seen) * (steps / gone).reshape(-1, *[1] * (path.ndim - 1))
    return seen.flatten(0, 1), (steps - gone).repeat_interleave(count), wanted.flatten(0, 1)


@torch.no_grad()
def original_targets(path: Tensor, mean: Mean) -> tuple[Tensor, Tensor, Tensor]:
    """The same by DSB's first target x' + F(x) - F(x'), which asks the mover F twice a step; for `Move.STATE`.

    Source: arXiv:2106.01357 equation 12.
    """
    states, times, _ = targets(path, Move.STATE)
    wanted = [
        after + mean(before, t) - mean(after, t) for t, (before, after) in enumerate(zip(path, path[1:], strict=False))
    ]
    return states, times, torch.cat(wanted)


def path_energy(path: Tensor) -> Tensor:
    """Squared length of each trajectory's steps, summed: `(b,)`. A bridge's falls over the epochs."""
    if len(path) < 2:
        raise RequestError.of("path", tuple(path.shape), "of two states or more")
    return path.diff(dim=0).square().flatten(2).sum(2).sum(0)
