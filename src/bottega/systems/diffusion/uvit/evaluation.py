"""Measuring U-ViT on the emoji world.

Sets are compared on a named feature network without weights. A picture's class is read by its nearest tile of the whole
atlas, by mean colours of a 16 x 16 grid.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bottega.data import pictures_to_tensor
from bottega.metrics import class_shares, set_distances
from bottega.room import Measure, Progress, Report
from bottega.systems.diffusion.uvit.config import ClassCondition
from bottega.systems.diffusion.uvit.inference import GUIDANCE, UVitRequest, ask, draw
from bottega.systems.diffusion.uvit.model import UVitPipeline
from bottega.worlds.emoji import EMOJI_CLASSES, emoji_class, family_weights, reference_pictures, split

STEPS, BATCH = 25, 64


@torch.inference_mode()
def evaluate(model: UVitPipeline, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Distances of drawn pictures to real ones, and, for sizes with the emoji's classes, whether classes are kept.

    Args:
        model: The pipeline.
        seed: Picks the emoji, their classes and the noise.
        limit: Most pictures to draw.
        report: Called after every batch.
    """
    emojis, count = split("train"), max(limit, 2)
    weights, random = family_weights(emojis), np.random.default_rng(seed)
    first, second = (random.choice(len(emojis), count, p=weights) for _ in range(2))
    tiles = pictures_to_tensor(reference_pictures("train", model.config.picture_size)[0])
    classes = [emoji_class(emojis[i]) for i in second]
    made = _draw(model, classes, seed, report)
    found = distances(made, tiles[first], tiles[second])
    if has_emoji_classes(model):
        found["class of the nearest tile"] = class_agreement(made, classes, random)
    return found


def has_emoji_classes(model: UVitPipeline) -> bool:
    """Whether a size is told the emoji's subgroups."""
    condition = model.config.condition
    return isinstance(condition, ClassCondition) and condition.names == EMOJI_CLASSES


def distances(made: Tensor, real: Tensor, other_real: Tensor) -> dict[str, Measure]:
    """Distances of two sets to real pictures; the baseline is the other real pictures blurred to 4 x 4 colours."""
    found, count = set_distances(made, real, other_real), len(made)
    return {
        name: Measure(value=one.value, baseline=one.blurred, higher_is_better=False, samples=count)
        for name, one in found.items()
    }


def class_agreement(made: Tensor, classes: list[str], random: np.random.Generator) -> Measure:
    """Share of pictures whose nearest tile is of the class asked for; shuffled classes; a random tile's share."""
    shares = class_shares(made, classes, random)
    return Measure(value=shares.value, control=shares.shuffled, baseline=shares.random, unit="%", samples=len(made))


def _draw(model: UVitPipeline, classes: list[str], seed: int, report: Report) -> Tensor:
    """One picture for each class, in [-1, 1]; for sizes without the emoji's classes, of whatever they draw."""
    batches = [classes[i : i + BATCH] for i in range(0, len(classes), BATCH)]
    made = []
    for number, batch in enumerate(batches, 1):
        told = has_emoji_classes(model)
        request = UVitRequest(inputs=tuple(batch)) if told else UVitRequest(count=len(batch), seed=seed + number)
        asked = ask(model, request)
        guidance = 1.0 if asked.null is None else GUIDANCE
        signal = draw(
            model, asked, len(batch), steps=STEPS, guidance=guidance, seed=seed + number, report=lambda *_: None
        )
        made.append(model.to_pictures(signal).clamp(-1, 1).float().cpu())
        report(Progress(step=number, total=len(batches), stage="draw"))
    return torch.cat(made)
