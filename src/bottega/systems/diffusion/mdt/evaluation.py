"""Measuring MDT on the emoji world: distances, classes, and whether the parts of a face belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bottega.data import pictures_to_tensor
from bottega.metrics import class_shares, set_distances
from bottega.room import Measure, Progress, Report
from bottega.systems.diffusion.mdt.inference import MdtRequest, draw
from bottega.systems.diffusion.mdt.model import MdtPipeline
from bottega.worlds.emoji import EMOJI_CLASSES, emoji_class, family_weights, reference_pictures, split

BATCH = 64
FACES = ("face smiling", "face affection", "face concerned", "face neutral skeptical")
"""Classes of round faces with two eyes."""


@torch.inference_mode()
def evaluate(model: MdtPipeline, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Distances of drawn pictures to real ones, whether classes are kept, and whether faces have two eyes.

    Args:
        model: The pipeline.
        seed: Picks the emoji, their classes and the noise.
        limit: Most pictures to draw for each figure.
        report: Called after every batch.
    """
    emojis, count, size = split("train"), max(limit, 2), model.config.picture_size
    random = np.random.default_rng(seed)
    first, second = (random.choice(len(emojis), count, p=family_weights(emojis)) for _ in range(2))
    tiles = pictures_to_tensor(reference_pictures("train", size)[0])
    known = model.config.class_names == EMOJI_CLASSES
    asked = [emoji_class(emojis[i]) if known else str(i % model.config.trunk.classes) for i in second]
    batches = _Batches(model, seed, report, total=-(-count // BATCH) * (1 + known))
    made = batches.draw(asked)
    found = {
        name: Measure(value=one.value, baseline=one.blurred, higher_is_better=False, samples=count)
        for name, one in set_distances(made, tiles[first], tiles[second]).items()
    }
    if known:
        shares = class_shares(made, asked, random)
        found["class of the nearest tile"] = Measure(
            value=shares.value, control=shares.shuffled, baseline=shares.random, unit="%", samples=count
        )
        found |= part_consistency(batches.draw([FACES[i % len(FACES)] for i in range(count)]), random)
    return found


def part_consistency(faces: Tensor, random: np.random.Generator) -> dict[str, Measure]:
    """The part-consistency score of drawn faces: how many have two like eyes at one height.

    The baseline is the real faces' own score, which no network is expected to pass; the control gives every face the
    right half of another, so that it has parts as good as before that do not belong together.

    Args:
        faces: Pictures of classes `FACES`, `(n, 3, size, size)` in [-1, 1].
        random: Picks the halves.
    """
    emojis = split("train")
    tiles = pictures_to_tensor(reference_pictures("train", faces.shape[-1])[0])
    real = tiles[[i for i, emoji in enumerate(emojis) if emoji_class(emoji) in FACES]]
    half = faces.shape[-1] // 2
    order = random.permutation(len(faces))
    others = torch.from_numpy(np.roll(order, 1)[np.argsort(order)])  # nobody keeps the own half
    mixed = torch.cat((faces[:, :, :, :half], faces[others][:, :, :, half:]), dim=3)
    eyes, mirrored = ([_mean(score(part)) for part in (faces, mixed, real)] for score in (two_eyes, mirror_likeness))
    shares, count = [100 * value for value in eyes], len(faces)
    return {
        "part consistency: two eyes": Measure(
            value=shares[0], control=shares[1], baseline=shares[2], unit="%", samples=count
        ),
        "part consistency: halves mirror each other": Measure(
            value=mirrored[0], control=mirrored[1], baseline=mirrored[2], samples=count
        ),
    }


def two_eyes(faces: Tensor) -> Tensor:
    """Whether the upper half of a face has one dark spot left and one right, at like heights and of like sizes.

    Args:
        faces: `(n, 3, size, size)` in [-1, 1].

    Returns:
        float32 `(n,)` of zeros and ones.
    """
    size = faces.shape[-1]
    dark = _features(faces)[:, size // 5 : size * 11 // 20]
    left, right = (_spot(side) for side in (dark[:, :, : size // 2], dark[:, :, size // 2 :].flip(2)))
    smaller, larger = torch.minimum(left.weight, right.weight), torch.maximum(left.weight, right.weight)
    present = smaller > 0.004 * size**2  # four dark pixels of 32 x 32
    compact = torch.maximum(left.spread, right.spread) < size / 9  # noise is spread over the whole half
    alike = smaller > 0.5 * larger
    level = (left.row - right.row).abs() < size / 16
    opposite = (left.column - right.column).abs() < size / 12
    return (present & compact & alike & level & opposite).float()


def mirror_likeness(faces: Tensor) -> Tensor:
    """Correlation of a picture's left half with its mirrored right half in brightness, `(n,)`."""
    grey = faces.mean(dim=1)
    half = grey.shape[-1] // 2
    left, right = (part.flatten(1) for part in (grey[:, :, :half], grey.flip(2)[:, :, :half]))
    left, right = (part - part.mean(dim=1, keepdim=True) for part in (left, right))
    return (left * right).sum(1) / (left.square().sum(1) * right.square().sum(1)).sqrt().clamp(min=1e-6)


def _features(faces: Tensor) -> Tensor:
    """How much darker than the face a pixel is, in [0, 1], `(n, size, size)`: red tells eyes from yellow skin."""
    red = (faces[:, 0].clamp(-1, 1) + 1) / 2
    return ((0.75 - red) / 0.5).clamp(0, 1)


class _Spot(NamedTuple):
    """The dark pixels of one side: how many, where on average, and how far from there."""

    weight: Tensor
    row: Tensor
    column: Tensor
    spread: Tensor


def _spot(side: Tensor) -> _Spot:
    """The spot of each picture's side `(n, rows, columns)`."""
    weight = side.sum((1, 2))
    share = side / weight.clamp(min=1e-6)[:, None, None]
    rows, columns = (torch.arange(n, dtype=side.dtype) for n in side.shape[1:])
    down, across = share.sum(2), share.sum(1)
    row, column = down @ rows, across @ columns
    spread = down @ rows**2 - row**2 + across @ columns**2 - column**2
    return _Spot(weight, row, column, spread.clamp(min=0).sqrt())


class _Batches:
    """Draws pictures of named classes in batches, and counts them."""

    def __init__(self, model: MdtPipeline, seed: int, report: Report, total: int) -> None:
        self.model, self.seed, self.report, self.total, self.done = model, seed, report, total, 0

    def draw(self, asked: Sequence[str]) -> Tensor:
        """One picture for each class, in [-1, 1]."""
        config, made = self.model.config, []
        for start in range(0, len(asked), BATCH):
            part = asked[start : start + BATCH]
            labels = [config.class_names.index(name) if config.class_names else int(name) for name in part]
            request = MdtRequest(seed=self.seed + self.done)
            signal = draw(self.model, labels, request, lambda *_: None)
            made.append(self.model.to_pictures(signal).clamp(-1, 1).float().cpu())
            self.done += 1
            self.report(Progress(step=self.done, total=self.total, stage="draw"))
        return torch.cat(made)


def _mean(values: Tensor) -> float:
    return float(values.mean())
