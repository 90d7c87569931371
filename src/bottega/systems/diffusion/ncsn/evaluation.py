"""Measuring NCSN on the emoji world: distances to real pictures, beside plain Langevin and levels told wrongly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bottega.data import pictures_to_tensor
from bottega.metrics import set_distances
from bottega.room import Measure, Progress, Report
from bottega.systems.diffusion.ncsn.inference import NcsnRequest, draw, plan
from bottega.systems.diffusion.ncsn.model import Ncsn
from bottega.systems.diffusion.ncsn.objective import ncsn_loss
from bottega.systems.diffusion.ncsn.sampling import from_pictures, to_pictures
from bottega.worlds.emoji import family_weights, reference_pictures, split

BATCH = 64


@torch.inference_mode()
def evaluate(model: Ncsn, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Distances of drawn pictures to real ones, and the loss on pictures that training never saw.

    The baseline of a distance is plain Langevin dynamics with the same network, at the last level, with as many steps;
    in the control the network is told the levels in random order. "Blurred" are real pictures of 4 x 4 colours.

    Args:
        model: The score network.
        seed: Picks the emoji and the noise.
        limit: Most pictures to draw of each kind.
        report: Called after every batch.
    """
    random, count = np.random.default_rng(seed), max(limit, 2)
    real, again = _real("train", model, random, count), _real("train", model, random, count)
    sigmas = plan(model, NcsnRequest())[0]
    wrongly = dict(zip(sigmas, random.permutation(sigmas).tolist(), strict=True))
    sizes = [min(BATCH, count - start) for start in range(0, count, BATCH)]
    kinds: list[tuple[bool, Mapping[float, float]]] = [(True, {}), (False, {}), (True, wrongly)]
    made: list[Tensor] = []
    for annealed, told in kinds:
        parts = []
        for size in sizes:
            done = len(made) * len(sizes) + len(parts) + 1
            request = NcsnRequest(count=size, annealed=annealed, seed=seed + len(parts) + 1)
            parts.append(to_pictures(draw(model, request, told=told), model.config.channels).clamp(-1, 1).cpu())
            report(Progress(step=done, total=len(kinds) * len(sizes), stage="draw"))
        made.append(torch.cat(parts).expand(-1, 3, -1, -1))
    return _distances(made, real, again) | {"loss on held-out emoji": _loss(model, seed, random, count)}


def _distances(made: list[Tensor], real: Tensor, again: Tensor) -> dict[str, Measure]:
    """Distances of what annealed, plain and wrongly told dynamics drew, and of pictures of 4 x 4 colours."""
    annealed, plain, wrong = (set_distances(kind.nan_to_num(), real, again) for kind in made)
    found, count = {}, len(real)
    for name, one in annealed.items():
        values = (one.value, plain[name].value, wrong[name].value)
        if "real to real" in name:
            values = (one.value, one.blurred, None)
        found[name] = Measure(
            value=values[0], baseline=values[1], control=values[2], higher_is_better=False, samples=count
        )
        if "real to real" not in name:
            found[f"{name}, blurred"] = Measure(value=one.blurred, higher_is_better=False, samples=count)
    return found


def _loss(model: Ncsn, seed: int, random: np.random.Generator, count: int) -> Measure:
    """sigma^2 |score + noise / sigma|^2 for each number of a picture; of a score that is zero everywhere it is 1."""
    pictures = from_pictures(_real("heldout", model, random, count), model.config.channels).to(model.sigmas)
    value = float(ncsn_loss(model, pictures, torch.Generator().manual_seed(seed))) * 2.0 / pictures[0].numel()
    return Measure(value=value, baseline=1.0, higher_is_better=False, samples=count)


def _real(name: str, model: Ncsn, random: np.random.Generator, count: int) -> Tensor:
    weights = family_weights(split(name))
    return pictures_to_tensor(
        reference_pictures(name, model.config.size)[0][random.choice(len(weights), count, p=weights)]
    )
