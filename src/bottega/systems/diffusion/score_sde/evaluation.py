"""Measuring a score SDE model on the emoji world: likelihood, anomaly score, and drawn pictures.

The anomaly score of a picture is its bits per dimension. The baseline of the figures of likelihood is a Gaussian with
the mean and the covariance of the training pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bottega.data import pictures_to_tensor, tensor_to_pictures
from bottega.metrics import PixelFeatures, frechet_distance, set_distances
from bottega.processes.diffusion import bits_per_dimension, dequantised
from bottega.room import Measure, Progress, Report
from bottega.systems.diffusion.score_sde.model import ScoreSde
from bottega.systems.diffusion.score_sde.sampling import Corrected, Plan, Sampler, draw, likelihood
from bottega.training import draw_generators
from bottega.worlds.emoji import emoji_class, family_weights, reference_pictures, split

BATCH = 32
JUDGED = 48
"""Most pictures of each kind whose likelihood is found: each costs some eighty passes there and back."""
TOLERANCE = 1e-2
EPSILON = 16
"""Largest change of a byte in an adversarial picture."""

Bits = Callable[[Tensor], Tensor]


def evaluate(model: ScoreSde, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Bits per dimension, how well they tell emoji from other pictures, and distances of drawn pictures.

    Args:
        model: The score network.
        seed: Picks the pictures and the noise.
        limit: Most pictures of each kind; at most 48 of them are judged.
        report: Called after every batch.
    """
    size, random = model.config.network.size, np.random.default_rng(seed)
    train, held_out = (torch.from_numpy(reference_pictures(name, size)[0]).permute(0, 3, 1, 2) for name in PARTS)
    chosen = torch.from_numpy(random.permutation(len(held_out))[: max(2, min(limit, JUDGED))].copy())
    pictures = held_out[chosen]
    kinds = {"noise": _noise(pictures, seed), "inverted": 255 - pictures, "adversarial": _adversarial(train, pictures)}
    gaussian = PixelGaussian(train, seed)
    kinds = {"emoji": pictures, **kinds}
    bits, count = _judge(model, kinds, seed, report), len(pictures)
    plain = {name: gaussian.bits(part, seed) for name, part in kinds.items()}
    emoji, noise, baseline = (float(part.mean()) for part in (bits["emoji"], bits["noise"], plain["emoji"]))
    found = {
        "bits per dimension of held-out emoji": Measure(
            value=emoji, baseline=baseline, control=noise, unit="bits", higher_is_better=False, samples=count
        )
    }
    order = torch.from_numpy(random.permutation(2 * count).copy())
    for name in list(kinds)[1:]:
        both = torch.cat([bits["emoji"], bits[name]])[order]
        found[f"anomaly score, emoji against {name}"] = Measure(
            value=100 * auroc(bits["emoji"], bits[name]), baseline=100 * auroc(plain["emoji"], plain[name]),
            control=100 * auroc(both[:count], both[count:]), unit="%", samples=2 * count,
        )  # fmt: skip
    return found | _drawn(model, seed, limit, report)


PARTS = ("train", "heldout")


class PixelGaussian:
    """A Gaussian over all pixels of a picture: mean and covariance of training pictures, their bytes spread evenly."""

    def __init__(self, pictures: Tensor, seed: int) -> None:
        flat = dequantised(pictures, torch.Generator().manual_seed(seed)).flatten(1).double()
        self.mean = flat.mean(0)
        noise = (2 / 256) ** 2 / 12 * torch.eye(flat.shape[1], dtype=torch.float64)
        self.root = torch.linalg.cholesky(torch.cov(flat.T) + noise)

    def bits(self, pictures: Tensor, seed: int) -> Tensor:
        """Bits per dimension of bytes `(b, 3, size, size)`, `(b,)`."""
        flat = dequantised(pictures, torch.Generator().manual_seed(seed)).flatten(1).double() - self.mean
        white = torch.linalg.solve_triangular(self.root, flat.T, upper=False)
        volume = self.root.diagonal().log().sum() + 0.5 * flat.shape[1] * math.log(2 * math.pi)
        return bits_per_dimension(-0.5 * white.square().sum(0) - volume, flat.shape[1])


def auroc(usual: Tensor, unusual: Tensor) -> float:
    """Chance that an unusual picture has the larger score: the area under the ROC curve, ties counted half."""
    difference = unusual[:, None] - usual
    return float(((difference > 0).double() + 0.5 * (difference == 0).double()).mean())


def _judge(model: ScoreSde, kinds: dict[str, Tensor], seed: int, report: Report) -> dict[str, Tensor]:
    """Bits per dimension of each kind of picture."""
    like, found = next(model.parameters()), {}
    for number, (name, pictures) in enumerate(kinds.items(), 1):
        parts = []
        for batch in pictures.split(BATCH):
            generator = torch.Generator().manual_seed(seed)
            given = dequantised(batch, generator).to(like)
            judged = likelihood(model, given, probes=1, tolerance=TOLERANCE, generator=generator)
            parts.append(bits_per_dimension(judged.log_prob, batch[0].numel()).cpu())
        found[name] = torch.cat(parts)
        report(Progress(step=number, total=len(kinds), stage="likelihood"))
    return found


def _noise(pictures: Tensor, seed: int) -> Tensor:
    """Bytes without any order."""
    return torch.randint(256, pictures.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def _adversarial(train: Tensor, pictures: Tensor) -> Tensor:
    """Pictures changed by the sign of a classifier's gradient so that it errs (FGSM, arXiv:1412.6572).

    The classifier is a ridge regression of the emoji's classes on the training pictures' pixels.
    """
    classes = [emoji_class(emoji) for emoji in split("train")]
    kinds = sorted(set(classes))
    labels = torch.tensor([kinds.index(name) for name in classes])
    flat = train.flatten(1).double() / 127.5 - 1
    target = torch.nn.functional.one_hot(labels, len(kinds)).double()
    matrix = flat.T @ flat + 30.0 * torch.eye(flat.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(matrix, flat.T @ (target - target.mean(0)))
    given = pictures.flatten(1).double() / 127.5 - 1
    logits = given @ weights
    seen = logits.argmax(1)
    gradient = torch.softmax(20 * logits, dim=1) @ weights.T - weights.T[seen]
    changed = pictures.flatten(1).double() + EPSILON * gradient.sign()
    return changed.clamp(0, 255).round().to(torch.uint8).reshape(pictures.shape)


def _drawn(model: ScoreSde, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Distances of drawn pictures to real ones; the control's pixels are shuffled from picture to picture."""
    emojis, count = split("train"), max(limit, 2)
    weights, random = family_weights(emojis), np.random.default_rng(seed)
    first, second = (random.choice(len(emojis), count, p=weights) for _ in range(2))
    tiles = pictures_to_tensor(reference_pictures("train", model.config.network.size)[0])
    plan, made = Plan(sampler=Sampler.HEUN, corrector=Corrected.NONE, steps=20), []
    streams = draw_generators(seed, count)
    with torch.inference_mode():
        for start in range(0, count, BATCH):
            states = draw(model, plan, streams[start : start + BATCH])
            made.append(pictures_to_tensor(tensor_to_pictures(model.to_pictures(states))))
            report(Progress(step=min(start + BATCH, count), total=count, stage="draw"))
    pictures, features = torch.cat(made), PixelFeatures()
    frechet = f"Fréchet distance ({features.name})"
    flat = pictures.flatten(2)
    mixed = torch.stack(
        [flat[torch.from_numpy(random.permutation(count).copy()), :, i] for i in range(flat.shape[2])], 2
    )
    shuffled = frechet_distance(features.features(mixed.reshape(pictures.shape)), features.features(tiles[first]))
    return {
        name: Measure(
            value=distance.value, baseline=distance.blurred, control=shuffled if name == frechet else None,
            higher_is_better=False, samples=count,
        )
        for name, distance in set_distances(pictures, tiles[first], tiles[second]).items()
    }  # fmt: skip
