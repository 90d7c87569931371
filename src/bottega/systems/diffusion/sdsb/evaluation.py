"""Measuring a bridge: does it arrive, and does it go the short way?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from bottega.processes.bridge import path_energy
from bottega.room import Measure, Report
from bottega.systems.diffusion.sdsb.config import TONES, ToneEnd
from bottega.systems.diffusion.sdsb.inference import (
    Direction,
    SdsbRequest,
    bundled_states,
    carried,
    tone_pictures,
)
from bottega.systems.diffusion.sdsb.model import Sdsb

DIRECTIONS = 128
"""Directions of the sliced distance."""


@torch.inference_mode()
def evaluate(model: Sdsb, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Distance to the other end and cost of the way, in both directions.

    Args:
        model: The model.
        seed: Picks samples, noise and directions.
        limit: Most points or pictures.
        report: Called after every step.
    """
    found: dict[str, Measure] = {}
    untrained = type(model)(model.config).to(model.like.device).eval()
    for direction in Direction:
        ends = (model.config.first, model.config.second)
        here, there = ends if direction is Direction.THERE else ends[::-1]
        draws = [torch.Generator().manual_seed(seed + offset) for offset in range(3)]
        start, other, again = (
            bundled_states(model, end, max(limit, 2), draw)
            for end, draw in zip((here, there, there), draws, strict=True)
        )
        request = SdsbRequest(direction=direction, seed=seed)
        path, lost = (carried(subject, start, request, report) for subject in (model, untrained))
        name = direction.value
        found[f"sliced Wasserstein distance to the other end, {name}"] = Measure(
            value=sliced_distance(path[-1], other, seed),
            baseline=sliced_distance(start, other, seed),
            control=sliced_distance(lost[-1], other, seed),
            higher_is_better=False,
            samples=len(start),
        )
        found[f"the same between real samples, {name}"] = Measure(
            value=sliced_distance(again, other, seed), higher_is_better=False, samples=len(start)
        )
        found[f"squared length of the way, {name}"] = Measure(
            value=_cost(start, path[-1]), baseline=_cost(start, other), higher_is_better=False, samples=len(start)
        )
        found[f"energy of the path, {name}"] = Measure(
            value=float(path_energy(path).mean()), control=float(path_energy(lost).mean()), higher_is_better=False,
            samples=len(start),
        )  # fmt: skip
        if isinstance(there, ToneEnd) and isinstance(here, ToneEnd):
            found[f"skin tone of the nearest tile, {name}"] = _tone_kept(model, path[-1], start, there.tone)
    return found


def sliced_distance(a: Tensor, b: Tensor, seed: int) -> float:
    """Root of the mean squared 2-Wasserstein distance of random one-dimensional projections of equally large sets."""
    a, b = a.flatten(1).double(), b.flatten(1).double()
    lines = torch.randn(a.shape[1], DIRECTIONS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    lines = (lines / lines.norm(dim=0)).to(a.device)
    return float(((a @ lines).sort(0).values - (b @ lines).sort(0).values).square().mean().sqrt())


def _cost(start: Tensor, end: Tensor) -> float:
    return float((start - end).flatten(1).square().sum(1).mean())


def _tone_kept(model: Sdsb, made: Tensor, start: Tensor, wanted: str) -> Measure:
    """Share of pictures whose nearest tile has the other end's tone; of the untouched pictures; by chance."""
    size, shown = model.config.picture_size, model.to_pictures
    tiles = {tone: tone_pictures(tone, size) for tone in TONES}
    gallery = torch.cat(list(tiles.values()))
    tones = [tone for tone, pictures in tiles.items() for _ in pictures]

    def share(states: Tensor) -> float:
        made, known = (adaptive_avg_pool2d(part.cpu().float(), 8).flatten(1) for part in (shown(states), gallery))
        nearest = torch.cdist(made, known).argmin(1).tolist()
        return 100 * sum(tones[row] == wanted for row in nearest) / len(nearest)

    return Measure(
        value=share(made), baseline=100 / len(TONES), control=share(start), unit="%", samples=len(made)
    )  # fmt: skip
