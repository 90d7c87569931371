"""What a room hands to `fit`, and what it gets back in every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from bottega.training.batches import split
from bottega.training.ema import Ema
from bottega.training.pieces import whole
from bottega.training.settings import FitSettings, Precision

if TYPE_CHECKING:
    from torch.nn.parallel import DistributedDataParallel


@dataclass(kw_only=True)
class TrainState:
    """Everything that changes while a model trains.

    Args:
        model: The recipe's model.
        ema: The averaged weights, or None.
        optimizers: By name; a recipe without `optimizers` of its own has one, "main".
        step: Updates done.
        generator: Randomness for `Recipe.step`, on the model's device; a function of (seed, step, rank).
        settings: What the run was told.
        replicas: Under `Ddp`, the wrapper that averages the gradients of each optimizer's parameters.
    """

    model: nn.Module
    ema: Ema | None
    optimizers: dict[str, torch.optim.Optimizer]
    step: int
    generator: torch.Generator
    settings: FitSettings
    replicas: dict[str, DistributedDataParallel] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return next(self.model.parameters()).device


class Recipe(Protocol):
    """How one model learns from one source of data. A room writes a plain class with these members.

    Further members are used when they are there: `preview` (see `Previewing`), `optimizers` (see `OwnOptimizers`) and
    `compiled_parts` (see `CompiledParts`).
    """

    @property
    def model(self) -> nn.Module:
        """Everything that is checkpointed. Parameters that require no gradient are kept but not trained."""
        ...

    def __len__(self) -> int:
        """Number of samples that indices run over."""
        ...

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Any:  # noqa: ANN401 - the recipe's type
        """Loads and collates the samples.

        Called from `FitSettings.workers` threads. All randomness must come from `generator`, or from
        `sample_generators(generator, indices)` where the result must not depend on the number of processes.
        """
        ...

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Groups for AdamW; see `decay_groups`."""
        ...

    def step(self, state: TrainState, batch: Any) -> Mapping[str, float | Tensor]:  # noqa: ANN401 - the recipe's type
        """Makes one update, mostly by `descend`, and returns what is logged; "loss" must be there."""
        ...


@runtime_checkable
class Previewing(Protocol):
    """A recipe that shows pictures of its progress."""

    def preview(self, state: TrainState) -> Mapping[str, np.ndarray]:
        """Pictures, uint8 `(height, width, 3)`, by name. The model computes with the averaged weights meanwhile."""
        ...


@runtime_checkable
class OwnOptimizers(Protocol):
    """A recipe that needs other optimizers than one AdamW: an adversarial pair, say."""

    def optimizers(self, settings: FitSettings) -> dict[str, torch.optim.Optimizer]:
        """Optimizers by name. The schedule multiplies the rates that they are made with."""
        ...


@runtime_checkable
class CompiledParts(Protocol):
    """A recipe that chooses what torch.compile sees."""

    def compiled_parts(self) -> Sequence[nn.Module]:
        """The modules to compile; the model itself when a recipe does not say."""
        ...


def descend(
    state: TrainState, batch: Any, loss_fn: Callable[[Any], Tensor | Mapping[str, Tensor]], optimizer: str = "main"
) -> dict[str, Tensor]:
    """One optimizer update: forward in the chosen precision, backward in parts, clip, step.

    Args:
        state: The training state.
        batch: What the loss is computed on; cut into `settings.accumulate` equal parts.
        loss_fn: A part of the batch to its loss (a mean over samples), or to a mapping with "loss" and further
            figures to log.
        optimizer: Which of `state.optimizers` moves.

    Returns:
        The means of the figures over the parts, and "grad_norm" before clipping. Detached.
    """
    chosen = state.optimizers[optimizer]
    replica = state.replicas.get(optimizer)
    chosen.zero_grad(set_to_none=True)
    parts = split(batch, state.settings.accumulate)
    totals: dict[str, Tensor] = {}
    for position, part in enumerate(parts):
        travels_later = replica is not None and position < len(parts) - 1  # gradients, between processes
        with replica.no_sync() if replica is not None and travels_later else nullcontext():
            with autocast(state):
                made = loss_fn(part) if replica is None else replica(loss_fn, part)
            figures = {"loss": made} if isinstance(made, Tensor) else made
            (figures["loss"] / len(parts)).backward()
        for name, value in figures.items():
            share = value.detach().float() / len(parts)
            totals[name] = totals[name] + share if name in totals else share
    totals["grad_norm"] = clip(chosen, state.settings.clip_norm)
    chosen.step()
    return totals


def autocast(state: TrainState) -> torch.autocast:
    """The context in which forward passes run in the precision of the settings."""
    return torch.autocast(state.device.type, dtype=torch.bfloat16, enabled=state.settings.precision is Precision.BF16)


def clip(optimizer: torch.optim.Optimizer, largest: float | None) -> Tensor:
    """Scales the optimizer's gradients down to an L2 norm of at most `largest`; returns the norm before."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, float("inf") if largest is None else largest)
    return whole(norm.detach())
