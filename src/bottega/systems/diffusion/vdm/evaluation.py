"""Measuring VDM on held-out emoji: bits per dimension, and what the learned schedule does for the estimate."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from bottega.processes.diffusion import Schedule, from_levels
from bottega.room import Measure, Progress, Report
from bottega.systems.diffusion.vdm.model import Vdm
from bottega.systems.diffusion.vdm.objective import picture_bits
from bottega.worlds.emoji import reference_pictures

BATCH, DRAWS = 64, 16


@torch.inference_mode()
def evaluate(model: Vdm, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Bits per dimension and the spread of its estimate.

    Args:
        model: The model.
        seed: Picks pictures, times and noise.
        limit: Most pictures.
        report: Called after every batch.
    """
    order = torch.randperm(len(_levels(model, "heldout")), generator=torch.Generator().manual_seed(seed))
    levels = _levels(model, "heldout")[order[: max(limit, 2)]]
    straight = copy.deepcopy(model)
    low, high = model.schedule.ends.tolist()
    straight.schedule = Schedule(low, high, features=0).to(model.schedule.ends.device)
    own = [bits_of(part, levels, seed, report) for part in (model, straight)]
    scrambled = levels.flatten(1)[:, torch.randperm(model.config.dims, generator=torch.Generator().manual_seed(seed))]
    control = bits_of(model, scrambled.reshape(levels.shape), seed, report)
    found = {
        "bits per dimension, held-out": Measure(
            value=float(own[0].mean()),
            baseline=gaussian_bits(_levels(model, "train"), levels),
            control=float(control.mean()),
            higher_is_better=False,
            samples=len(levels),
        ),
        "spread of one estimate, learned schedule": Measure(
            value=float(own[0].std()), baseline=float(own[1].std()), higher_is_better=False, samples=own[0].numel()
        ),
        "bits per dimension, straight schedule": Measure(
            value=float(own[1].mean()), baseline=float(own[0].mean()), higher_is_better=False, samples=len(levels)
        ),
    }
    return found


def bits_of(model: Vdm, levels: Tensor, seed: int, report: Report) -> Tensor:
    """Single estimates of the bits per dimension, `(draws, pictures)`: of all pictures at each of the draws."""
    generator = torch.Generator(model.schedule.ends.device).manual_seed(seed)
    rows = []
    for number in range(1, DRAWS + 1):
        parts = levels.to(generator.device).split(BATCH)
        rows.append(torch.cat([picture_bits(model, part, generator).total for part in parts]))
        report(Progress(step=number, total=DRAWS, stage="count bits"))
    return torch.stack(rows)


def gaussian_bits(train: Tensor, levels: Tensor) -> float:
    """Bits per dimension under an independent normal for each pixel and channel, cut into 256 levels."""
    x = from_levels(train)
    mean, std = x.mean(0), x.std(0).clamp(min=1 / 128)
    half = 1 / 256
    value = from_levels(levels)
    upper, lower = ((value + side * half - mean) / std for side in (1, -1))
    high = torch.where(levels == 255, torch.ones_like(upper), torch.special.ndtr(upper.double()).float())
    low = torch.where(levels == 0, torch.zeros_like(lower), torch.special.ndtr(lower.double()).float())
    return float(-(high - low).clamp(min=1e-12).log().mean() / math.log(2))


def _levels(model: Vdm, name: str) -> Tensor:
    return torch.from_numpy(reference_pictures(name, model.config.size)[0]).permute(0, 3, 1, 2)
