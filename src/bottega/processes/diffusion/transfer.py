"""How noise levels help or hurt one another: fine-tune on one, and see what happens to the others.

Source: arXiv:2303.09556 section 3.1 and figure 2.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bottega.processes.diffusion.objective import denoising_loss, noise_like
from bottega.processes.diffusion.paths import Path
from bottega.processes.diffusion.predictions import Prediction
from bottega.processes.diffusion.weighting import Uniform


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Transfer:
    """A transfer matrix.

    Args:
        edges: Times that bound the bins, `(bins + 1,)`, from the least noisy.
        before: Loss in each bin before, `(bins,)`: the output's mean squared error on held-out states.
        after: Loss in bin j after fine-tuning on bin i, `(bins, bins)`.
    """

    edges: Tensor
    before: Tensor
    after: Tensor

    @property
    def change(self) -> Tensor:
        """Relative change of the loss `(trained bin, tested bin)`; below 0 is better."""
        return self.after / self.before - 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferPlan:
    """How a transfer matrix is measured.

    Args:
        bins: Bins of equal shares of the path's clock.
        steps: Updates on each bin.
        batch: States in an update.
        rate: Learning rate of AdamW.
        repeats: Noises for each held-out state and bin; all measurements share them.
        seed: Source of times and noise.
    """

    bins: int = 8
    steps: int = 20
    batch: int = 32
    rate: float = 2e-4
    repeats: int = 2
    seed: int = 0


States = tuple[Tensor, Tensor | None]
"""Clean states `(n, ...)` and their condition, of one row each, or None."""


def transfer_matrix(
    network: nn.Module,
    trained: States,
    held_out: States,
    plan: TransferPlan,
    *,
    path: Path,
    prediction: Prediction,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Transfer:
    """Fine-tunes a copy of the network on each bin of noise levels and measures the loss in all bins.

    Args:
        network: `(x_t, t, cond) -> output`; it stays as it is.
        trained: What to fine-tune on.
        held_out: What to measure on.
        plan: How.
        path: The network's path.
        prediction: What the network predicts.
        report: Called with bins done and bins in all.
    """
    shares = torch.linspace(0, 1, plan.bins + 1, dtype=torch.float64)
    tests = [_test(held_out, shares[i : i + 2], plan, path) for i in range(plan.bins)]

    def losses(subject: nn.Module) -> Tensor:
        with torch.no_grad():
            return torch.stack([_loss(subject, *test, path, prediction) for test in tests])

    was_training = network.training
    before, rows = losses(network.eval()), []
    for number in range(plan.bins):
        with torch.inference_mode(False), torch.enable_grad():
            subject = copy.deepcopy(network).requires_grad_(True)
            _tune(subject, trained, shares[number : number + 2], plan, path, prediction)
        rows.append(losses(subject))
        report(number + 1, plan.bins)
    network.train(was_training)
    edges = path.training_time(shares.clamp(max=1 - torch.finfo(torch.float64).eps))
    return Transfer(edges=edges, before=before, after=torch.stack(rows))


def _test(
    held_out: States, share: Tensor, plan: TransferPlan, path: Path
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """States, times, noises and conditions of one bin, the same for every measurement."""
    states = held_out[0].repeat_interleave(plan.repeats, dim=0)
    cond = None if held_out[1] is None else held_out[1].repeat_interleave(plan.repeats, dim=0)
    generator = torch.Generator().manual_seed(plan.seed)
    spread = (torch.arange(len(states), dtype=torch.float64) + 0.5) / len(states)
    order = torch.randperm(len(states), generator=generator)
    times = path.training_time(share[0] + (share[1] - share[0]) * spread[order]).to(states.device)
    return states, times, noise_like(states, generator), cond


def _loss(
    network: nn.Module,
    states: Tensor,
    times: Tensor,
    noise: Tensor,
    cond: Tensor | None,
    path: Path,
    prediction: Prediction,
) -> Tensor:
    even = Uniform()
    return denoising_loss(network, states, times, noise, cond, path=path, prediction=prediction, weighting=even).mean()


def _tune(
    network: nn.Module, trained: States, share: Tensor, plan: TransferPlan, path: Path, prediction: Prediction
) -> None:
    states, cond = trained
    generator = torch.Generator().manual_seed(plan.seed + 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=0.0)
    for _ in range(plan.steps):
        rows = torch.randint(len(states), (plan.batch,), generator=generator).to(states.device)
        u = torch.rand(plan.batch, generator=generator, dtype=torch.float64)
        times = path.training_time(share[0] + (share[1] - share[0]) * u).to(states.device)
        batch, some = states[rows], None if cond is None else cond[rows]
        optimizer.zero_grad(set_to_none=True)
        _loss(network, batch, times, noise_like(batch, generator), some, path, prediction).backward()
        optimizer.step()
