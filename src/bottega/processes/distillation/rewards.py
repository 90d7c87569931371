"""Preferences as differentiable functions of pictures, to align a student while it is distilled.

Source: arXiv:2406.05768 (reward learning with the student's own clean samples).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor


class Reward(Protocol):
    """How much a picture is liked."""

    def __call__(self, pictures: Tensor) -> Tensor:
        """One number for each of the pictures `(b, 3, h, w)` in [-1, 1], `(b,)`; more is better."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Colourfulness:
    """How vivid a picture is: spread and strength of its red-green and yellow-blue, in units of the range 0 to 255.

    Source: Hasler and Süsstrunk, Measuring colourfulness in natural images, 2003, equation for M3.
    """

    def __call__(self, pictures: Tensor) -> Tensor:
        """See `Reward`."""
        red, green, blue = ((pictures.float() + 1) * 127.5).unbind(1)
        axes = torch.stack((red - green, 0.5 * (red + green) - blue), dim=1).flatten(2)  # (b, 2, pixels)
        spread = axes.var(2, correction=0).sum(1)
        strength = axes.mean(2).square().sum(1)
        return (spread + 1e-6).sqrt() + 0.3 * (strength + 1e-6).sqrt()


@final
@dataclass(frozen=True, slots=True)
class Brightness:
    """The mean of a picture, -1 for black to 1 for white."""

    def __call__(self, pictures: Tensor) -> Tensor:
        """See `Reward`."""
        return pictures.float().flatten(1).mean(1)
