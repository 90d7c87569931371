"""Figures of drawn emoji: how far sets lie apart, and whether a picture is of the class that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from bottega.data import pictures_to_tensor
from bottega.metrics.distances import frechet_distance, kernel_distance
from bottega.metrics.features import PixelFeatures
from bottega.worlds.emoji import emoji_class, reference_pictures, split

FEATURES = PixelFeatures()


@dataclass(frozen=True, slots=True)
class SetDistance:
    """A distance between two sets, and the same for the other real pictures blurred to 4 x 4 colours."""

    value: float
    blurred: float


@dataclass(frozen=True, slots=True)
class ClassShares:
    """Percent of pictures whose nearest tile is of the class asked for, of another's; and of random tiles."""

    value: float
    shuffled: float
    random: float


def set_distances(made: Tensor, real: Tensor, other_real: Tensor) -> dict[str, SetDistance]:
    """Distances of drawn pictures, and of other real ones, to real pictures, by name.

    Args:
        made: Drawn pictures `(n, 3, size, size)` in [-1, 1].
        real: As many real ones.
        other_real: As many others.
    """
    size = real.shape[-1]
    blurred = interpolate(adaptive_avg_pool2d(other_real, 4), size=(size, size), mode="bilinear")
    truth, drawn, flat, again = (FEATURES.features(part) for part in (real, made, blurred, other_real))
    frechet, kernel = frechet_distance(flat, truth), kernel_distance(flat, truth).value
    return {
        f"Fréchet distance ({FEATURES.name})": SetDistance(frechet_distance(drawn, truth), frechet),
        f"Fréchet distance ({FEATURES.name}), real to real": SetDistance(frechet_distance(again, truth), frechet),
        f"kernel distance ({FEATURES.name})": SetDistance(kernel_distance(drawn, truth).value, kernel),
    }


def class_shares(made: Tensor, classes: Sequence[str], random: np.random.Generator) -> ClassShares:
    """How often the tile nearest to a picture, by mean colours of a 16 x 16 grid, is of the class asked for.

    Args:
        made: Pictures `(n, 3, size, size)` in [-1, 1].
        classes: The class asked for with each.
        random: Picks the shuffled classes and the random tiles.
    """
    gallery = split("all")
    tiles = pictures_to_tensor(reference_pictures("all", made.shape[-1])[0])
    nearest = torch.cdist(_coarse(made), _coarse(tiles)).argmin(dim=1).tolist()
    seen = [emoji_class(gallery[i]) for i in nearest]
    drawn = [emoji_class(gallery[i]) for i in random.integers(len(gallery), size=100 * len(made))]
    order = random.permutation(len(classes))
    shuffled = [classes[int(i)] for i in np.roll(order, 1)[np.argsort(order)]]  # nothing keeps its own
    hundredfold = [name for _ in range(100) for name in classes]
    return ClassShares(_share(seen, classes), _share(seen, shuffled), _share(drawn, hundredfold))


def _coarse(pictures: Tensor) -> Tensor:
    return adaptive_avg_pool2d(pictures, 16).flatten(1)


def _share(seen: Sequence[str], asked: Sequence[str]) -> float:
    return 100 * sum(a == b for a, b in zip(seen, asked, strict=True)) / len(asked)
