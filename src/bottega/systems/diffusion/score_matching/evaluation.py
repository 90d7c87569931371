"""Measuring score networks against the true score of the two modes, where the data are and where they are not."""

from __future__ import annotations

import torch
from torch import Tensor

from bottega.processes.diffusion import fisher_divergence, langevin_dynamics
from bottega.room import Measure, Progress, Report
from bottega.systems.diffusion.score_matching.inference import START, Pair
from bottega.systems.diffusion.score_matching.model import ScoreMatching

STEP, STEPS = 0.05, 300


@torch.inference_mode()
def evaluate(model: ScoreMatching, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Fisher divergence of each network, and the share of the larger mode that plain Langevin dynamics find on it.

    The baseline of a divergence is a score of zero; its control takes each point's score from another point. "Far from
    data" are points between and around the modes, at least four from both, even in the square of side 16.

    Args:
        model: The score networks.
        seed: Picks the points.
        limit: How many points, at least 2.
        report: Called after every network.
    """
    found, count = {}, max(limit, 2)
    methods = model.config.methods
    for number, method in enumerate(methods, 1):
        pair, generator = Pair(model, method), torch.Generator().manual_seed(seed)
        data = pair.truth.sample(count, generator)
        found[f"Fisher divergence, {method.value}"] = _divergence(pair, data)
        found[f"Fisher divergence far from data, {method.value}"] = _divergence(pair, _far(pair, count, generator))
        start = _square(count, pair.dim, generator)
        ends = langevin_dynamics(pair.learned, start, step=STEP, steps=STEPS, generator=generator)
        share, even = (100.0 * float((x.sum(1) > 0).double().mean()) for x in (ends, start))
        found[f"larger mode's share by plain Langevin (truly 80), {method.value}"] = Measure(
            value=share, baseline=even, unit="%", samples=count
        )
        report(Progress(step=number, total=len(methods), stage="measure"))
    return found


def _divergence(pair: Pair, x: Tensor) -> Measure:
    order = torch.roll(torch.arange(len(x)), 1)
    value, zero, shuffled = (
        float(fisher_divergence(score, pair.truth.score, x).mean())
        for score in (pair.learned, torch.zeros_like, lambda points: pair.learned(points[order]))
    )
    return Measure(value=value, baseline=zero, control=shuffled, higher_is_better=False, samples=len(x))


def _far(pair: Pair, count: int, generator: torch.Generator) -> Tensor:
    """Points of the plane through both modes, at least four from each."""
    plane = _square(20 * count, 2, generator)
    distance = torch.minimum((plane - 5.0).norm(dim=1), (plane + 5.0).norm(dim=1))
    return pair.lifted(plane[distance > 4.0][:count].numpy())


def _square(count: int, dim: int, generator: torch.Generator) -> Tensor:
    return START * (2.0 * torch.rand(count, dim, generator=generator, dtype=torch.float64) - 1.0)
