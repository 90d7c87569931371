"""The losses of the posterior room, and what its reader knows: groups of emoji and words of their names."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from bottega.processes.diffusion import (
    EdmTimes,
    EdmWeighting,
    Epsilon,
    EvenIn,
    UniformTimes,
    diffusion_loss,
    noise_like,
)
from bottega.systems.diffusion.posterior.config import PreconditionedNoise
from bottega.systems.diffusion.posterior.model import Reader, Rival, ScanPrior
from bottega.worlds.emoji import Emoji, load_index, split

SCAN_NOISE = 0.2
"""Standard deviation of a line integral's noise, in pixels times density; a head's integrals reach about 15."""

STOP_WORDS = frozenset("with in and of on the a to at for no up down left right o s t".split())


def scan_loss(model: ScanPrior, density: Tensor, generator: torch.Generator) -> Tensor:
    """Denoising score matching on densities `(b, 1, size, size)`: the mean over the batch."""
    match model.config.noise:
        case PreconditionedNoise(sigma_data=data):
            weighting, times = EdmWeighting(data), EdmTimes(mean=-0.8, std=1.5)
        case _:
            weighting, times = EvenIn(Epsilon()), UniformTimes()
    return diffusion_loss(
        model.network, model.to_states(density), path=model.path, prediction=model.prediction,
        weighting=weighting, times=times, generator=generator,
    ).mean()  # fmt: skip


def rival_loss(model: Rival, density: Tensor, generator: torch.Generator) -> Tensor:
    """Squared error of the supervised reconstruction from noisy projections."""
    return F.mse_loss(model(measured_back_projection(model, density, generator)), density)


def measured_back_projection(model: Rival, density: Tensor, generator: torch.Generator) -> Tensor:
    """The filtered back-projection of noisy projections of densities: what the rival is given."""
    lines = model.operator.forward(density)
    return model.operator.filtered_back_projection(lines + SCAN_NOISE * noise_like(lines, generator))


def reader_loss(model: Reader, pictures: Tensor, groups: Tensor, words: Tensor, generator: torch.Generator) -> Tensor:
    """Cross-entropy of the group and of each word, at a noise level that is even in the angle atan(sigma / alpha).

    Args:
        model: The reader.
        pictures: `(b, 3, size, size)` in [-1, 1].
        groups: Numbers `(b,)`.
        words: 1 where the name holds the word, `(b, words)`.
        generator: Source of noise.
    """
    angle = torch.rand(len(pictures), generator=generator, device=generator.device).to(pictures.device) * math.pi / 2
    alpha, sigma = angle.cos(), angle.sin()
    column = (-1, 1, 1, 1)
    noisy = alpha.reshape(column) * pictures + sigma.reshape(column) * noise_like(pictures, generator)
    seen_groups, seen_words = model(noisy, alpha, sigma)
    wordless = F.binary_cross_entropy_with_logits(seen_words.float(), words, reduction="none").sum(1).mean()
    return F.cross_entropy(seen_groups.float(), groups) + wordless


@cache
def group_names() -> tuple[str, ...]:
    """Unicode's groups of emoji in lower case, in the atlas's order."""
    return tuple(dict.fromkeys(emoji.group.lower() for emoji in load_index()))


@cache
def known_words(count: int) -> tuple[str, ...]:
    """The words that most names of the training split hold, the most frequent first; grammar's words are left out."""
    seen = Counter(word for emoji in split("train") for word in name_words(emoji))
    return tuple(word for word, _ in sorted(seen.items(), key=lambda pair: (-pair[1], pair[0]))[:count])


def name_words(emoji: Emoji) -> set[str]:
    """The words of an emoji's name without skin tones."""
    return set(split_words(emoji.base))


def split_words(text: str) -> list[str]:
    """Words in lower case, without those of grammar."""
    return [word for word in re.findall(r"[a-z]+", text.lower()) if word not in STOP_WORDS]


def word_targets(emojis: Sequence[Emoji], count: int) -> Tensor:
    """1 where an emoji's name holds a known word, `(emojis, count)`."""
    places = {word: place for place, word in enumerate(known_words(count))}
    targets = torch.zeros(len(emojis), count)
    for row, emoji in enumerate(emojis):
        for word in name_words(emoji) & places.keys():
            targets[row, places[word]] = 1.0
    return targets
