"""Adversarial learning: the losses of a generator and a discriminator, their regularisers, adaptive augmentation."""

from bottega.processes.adversarial.augment import (
    AdaptiveStrength,
    Moves,
    Recolouring,
    augmented,
    moved,
    recoloured,
)
from bottega.processes.adversarial.losses import (
    discriminator_loss,
    generator_loss,
    path_length_penalty,
    path_lengths,
    r1_penalty,
)

__all__ = [
    "AdaptiveStrength",
    "Moves",
    "Recolouring",
    "augmented",
    "discriminator_loss",
    "generator_loss",
    "moved",
    "path_length_penalty",
    "path_lengths",
    "r1_penalty",
    "recoloured",
]
