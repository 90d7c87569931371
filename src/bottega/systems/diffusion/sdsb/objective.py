"""What the two networks are trained to do. Source: arXiv:2403.14623 sections 3 and 4."""

from __future__ import annotations

import torch
from torch import Tensor

from bottega.processes.bridge import Mean, drift_to_normal, original_targets, roll_out, targets, toward
from bottega.systems.diffusion.sdsb.model import Sdsb


def bridge_loss(
    model: Sdsb, epoch: int, first: Tensor, second: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The mean squared error of the network that this epoch trains, on fresh roll-outs; and their path's energy.

    Even epochs train `there` on roll-outs from the second end, odd ones `back` on roll-outs from the first. In epoch 0
    the roll-outs are those of a reference: DSB's drift to a normal, or flow matching's straight line to a partner.

    Args:
        model: The model.
        epoch: Counted from 0.
        first: States of the first end, `(batch, ...)`.
        second: States of the second end.
        generator: Source of the noise.
    """
    trains_there = epoch % 2 == 0
    start, partner = (second, first) if trains_there else (first, second)
    teacher = _reference(model, partner) if epoch == 0 else model.way(there=not trains_there)
    path = roll_out(teacher, start, model.config.gammas, generator)
    if model.config.simplified:
        states, times, wanted = targets(path, model.config.move)
    else:
        states, times, wanted = original_targets(path, teacher)
    said = (model.there if trains_there else model.back)(states, times)
    return (said - wanted).square().mean(), path.diff(dim=0).square().flatten(2).sum(2).sum(0).mean()


def _reference(model: Sdsb, partner: Tensor) -> Mean:
    if model.config.simplified:
        return toward(partner, model.config.steps)
    return drift_to_normal(model.config.gammas)
