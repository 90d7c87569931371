"""Exponential moving average of a model's trained parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bottega.training.pieces import own_piece


class Ema:
    """Averaged copies of the parameters that are trained. Buffers and frozen parameters are not averaged.

    Args:
        model: The model whose parameters are averaged; the average starts at its present values.
        decay: Weight of the past, in [0, 1). The first updates use the smaller (1 + s) / (10 + s), s from 0.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: p.detach().clone() for name, p in trained_parameters(model).items()}

    def decay_at(self, step: int) -> float:
        """Decay of update `step`, from 0."""
        return min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Moves the average towards the model's parameters after update `step`, from 0."""
        live = trained_parameters(model)
        average = [local(tensor) for tensor in self.tensors.values()]
        present = [local(live[name]) for name in self.tensors]
        torch._foreach_lerp_(average, present, 1.0 - self.decay_at(step))  # pyright: ignore[reportPrivateImportUsage]

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Within the context the model computes with the averaged parameters."""
        live = trained_parameters(model)
        self._exchange(live)
        try:
            yield
        finally:
            self._exchange(live)

    @torch.no_grad()
    def _exchange(self, live: dict[str, nn.Parameter]) -> None:
        for name, average in self.tensors.items():
            kept = local(live[name]).clone()
            local(live[name]).copy_(local(average))
            local(average).copy_(kept)


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require a gradient, by name; shared ones once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor: all of it unless FSDP split it."""
    return own_piece(tensor).detach()
