"""Measuring U-ViT on the emoji world.

Sets are compared on a named feature network without weights. A picture's class is read by its nearest tile of the whole
atlas, by mean colours of a 16 x 16 grid.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from bottega.metrics import PixelFeatures, frechet_distance, kernel_distance
from bottega.room import Measure, Progress, Report
from bottega.systems.diffusion.uvit.config import EMOJI_CLASSES, ClassCondition
from bottega.systems.diffusion.uvit.inference import GUIDANCE, UVitRequest, ask, draw
from bottega.systems.diffusion.uvit.model import UVitPipeline
from bottega.worlds.emoji import family_weights, reference_pictures, split

STEPS, BATCH = 25, 64
FEATURES = PixelFeatures()


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
    tiles = to_tensor(reference_pictures("train", model.config.picture_size)[0])
    classes = [emojis[i].subgroup.replace("-", " ") for i in second]
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
    count, size = len(made), real.shape[-1]
    blurred = interpolate(adaptive_avg_pool2d(other_real, 4), size=(size, size), mode="bilinear")
    truth, drawn, flat, again = (FEATURES.features(part) for part in (real, made, blurred, other_real))

    def measure(value: float, baseline: float) -> Measure:
        return Measure(value=value, baseline=baseline, higher_is_better=False, samples=count)

    return {
        f"Fréchet distance ({FEATURES.name})": measure(frechet_distance(drawn, truth), frechet_distance(flat, truth)),
        f"Fréchet distance ({FEATURES.name}), real to real": measure(
            frechet_distance(again, truth), frechet_distance(flat, truth)
        ),
        f"kernel distance ({FEATURES.name})": measure(
            kernel_distance(drawn, truth).value, kernel_distance(flat, truth).value
        ),
    }


def class_agreement(made: Tensor, classes: list[str], random: np.random.Generator) -> Measure:
    """Share of pictures whose nearest tile is of the class asked for; shuffled classes; a random tile's share."""
    gallery = split("all")
    tiles = to_tensor(reference_pictures("all", made.shape[-1])[0])
    nearest = torch.cdist(_coarse(made), _coarse(tiles)).argmin(dim=1).tolist()
    seen = [gallery[i].subgroup.replace("-", " ") for i in nearest]
    drawn = [gallery[i].subgroup.replace("-", " ") for i in random.integers(len(gallery), size=100 * len(made))]
    order = random.permutation(len(classes))
    shuffled = [classes[i] for i in np.roll(order, 1)[np.argsort(order)]]  # nothing keeps its own
    return Measure(
        value=_share(seen, classes), control=_share(seen, shuffled), baseline=_share(drawn, classes * 100),
        unit="%", samples=len(made),
    )  # fmt: skip


def to_tensor(pictures: np.ndarray) -> Tensor:
    """uint8 `(n, height, width, 3)` to `(n, 3, height, width)` in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


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


def _coarse(pictures: Tensor) -> Tensor:
    return adaptive_avg_pool2d(pictures, 16).flatten(1)


def _share(seen: list[str], asked: list[str]) -> float:
    return 100 * sum(a == b for a, b in zip(seen, asked, strict=True)) / len(asked)
