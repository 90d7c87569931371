"""The two losses of a generator and a discriminator, and what keeps each of them smooth.

Scores are log-odds `(batch,)`: large for pictures that look like data.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def generator_loss(made: Tensor) -> Tensor:
    """The generator's non-saturating loss, from the scores of what it made; a mean.

    Source: arXiv:1406.2661, section 3.
    """
    return F.softplus(-made.float()).mean()


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """The discriminator's loss, from the scores of data and of what was made; a mean."""
    return F.softplus(-real.float()).mean() + F.softplus(made.float()).mean()


def r1_penalty(score: Callable[[Tensor], Tensor], pictures: Tensor) -> Tensor:
    """The squared gradient of the scores of data in the data; a mean over pictures, to be weighted with gamma / 2.

    Args:
        score: Pictures to scores, differentiable twice.
        pictures: Data `(batch, channels, height, width)`.

    Source: arXiv:1801.04406, equation 9.
    """
    pictures = pictures.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(score(pictures).sum(), pictures, create_graph=True)
    return slope.square().sum((1, 2, 3)).mean()


def path_lengths(pictures: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
    """How far a random direction of a picture moves a style: `(batch,)`, differentiable.

    Args:
        pictures: Made from the styles, `(batch, channels, height, width)`.
        styles: `(batch, layers, style_dim)`, of which the pictures are a function.
        noise: Standard normal, of the pictures' shape.

    Source: arXiv:1912.04958, section 3.2.
    """
    side = math.sqrt(pictures.shape[2] * pictures.shape[3])
    (slope,) = torch.autograd.grad((pictures * noise / side).sum(), styles, create_graph=True)
    return slope.square().sum(2).mean(1).sqrt()


def path_length_penalty(lengths: Tensor, mean: Tensor, decay: float = 0.01) -> tuple[Tensor, Tensor]:
    """How much path lengths differ from their running mean.

    Args:
        lengths: `(batch,)`.
        mean: The running mean so far, a scalar.
        decay: Weight of this batch in the mean.

    Returns:
        The penalty, a mean over the batch, and the new running mean, detached.
    """
    moved = mean.lerp(lengths.mean(), decay)
    return (lengths - moved).square().mean(), moved.detach()
