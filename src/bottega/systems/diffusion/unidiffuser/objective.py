"""What UniDiffuser and its parts are trained to do, as functions of tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bottega.networks import AutoencoderKl
from bottega.processes.diffusion import DiscreteVp, Prediction
from bottega.systems.diffusion.unidiffuser.model import Signals

PATH = DiscreteVp.scaled_linear()
"""Stable Diffusion's noise path. Index -1 is clean data; index N = 1000 is pure noise."""

CLEAN, ABSENT = PATH.t_clean, float(PATH.steps)


def clock(index: Tensor) -> Tensor:
    """The times that the network is told: 0 for clean data, 1 to N for the N noise levels, N again for pure noise.

    Source: the authors' code counts noise levels from 1 and calls an absent modality N.
    """
    return (index + 1).clamp(max=PATH.steps)


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeMix:
    """How often each pair of times is trained; the shares need not add up to one.

    Args:
        any_pair: Two independent times: the published choice.
        text_to_picture: The text clean.
        picture_to_text: The picture clean.
        together: Both at the same time.
        picture_alone: The text absent.
        text_alone: The picture absent.
    """

    any_pair: float = 1.0
    text_to_picture: float = 0.0
    picture_to_text: float = 0.0
    together: float = 0.0
    picture_alone: float = 0.0
    text_alone: float = 0.0

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Indices of the picture's and the text's time, float32 `(batch,)` each, on the generator's device."""
        device = generator.device
        shares = torch.tensor(
            [
                self.any_pair,
                self.text_to_picture,
                self.picture_to_text,
                self.together,
                self.picture_alone,
                self.text_alone,
            ],
            device=device,
        )
        kind = torch.multinomial(shares, batch, replacement=True, generator=generator)
        first = torch.randint(PATH.steps, (batch,), generator=generator, device=device).float()
        second = torch.randint(PATH.steps, (batch,), generator=generator, device=device).float()
        picture = torch.where(kind == 2, CLEAN, torch.where(kind == 5, ABSENT, first))
        text = torch.where(kind == 3, first, second)
        text = torch.where(kind == 1, CLEAN, torch.where(kind == 4, ABSENT, text))
        return picture, text


def levels(like: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Alpha and sigma of each sample's time index, shaped and typed to multiply `like`."""
    shape = (-1, *[1] * (like.ndim - 1))
    return PATH.alpha(time).to(like).view(shape), PATH.sigma(time).to(like).view(shape)


def noised(clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """alpha(t) x + sigma(t) noise, with one time index for each sample."""
    alpha, sigma = levels(clean, time)
    return alpha * clean + sigma * noise


def told(time: Tensor) -> Tensor:
    """1.0 where a modality is noisy, 0.0 where it is clean or absent: there the network has nothing to say about it."""
    return ((time >= 0) & (time < PATH.steps)).float()


def joint_loss(
    network: Callable[[Signals, Tensor, Tensor], Signals],
    clean: Signals,
    noise: Signals,
    picture_time: Tensor,
    text_time: Tensor,
    *,
    prediction: Prediction,
) -> dict[str, Tensor]:
    """The error of what the network predicts about both modalities.

    Args:
        network: The joint predictor.
        clean: Signals without noise.
        noise: The noise to add, standard normal, of the same shapes.
        picture_time: Index of the picture's time, `(batch,)`.
        text_time: Index of the text's time, `(batch,)`.
        prediction: What the network predicts.

    Returns:
        "loss", the weighted mean squared error, and its parts by modality.

    Source: arXiv:2303.06555, equation 5.
    """
    times = (picture_time, picture_time, text_time)
    both = list(zip(clean.parts(), noise.parts(), times, strict=True))
    noisy = Signals(*(noised(x, e, t) for x, e, t in both))
    predicted = network(noisy, clock(picture_time), clock(text_time))
    targets = [prediction.target(x, e, *levels(x, t)) for x, e, t in both]
    latent, picture, text = (
        (_error(made, target) * told(time)).mean()
        for made, target, time in zip(predicted.parts(), targets, times, strict=True)
    )
    return {"loss": latent + 0.1 * picture + 0.5 * text, "latent": latent, "picture": picture, "text": text}


def _error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each sample."""
    return (predicted.float() - target.float()).square().flatten(1).mean(1)


def autoencoder_loss(
    autoencoder: AutoencoderKl, pictures: Tensor, generator: torch.Generator, *, kl_weight: float = 1e-4
) -> dict[str, Tensor]:
    """Reconstruction of pixels and of their differences, and a light pull of the latents to the standard normal.

    Args:
        autoencoder: The autoencoder.
        pictures: `(batch, 3, height, width)` in [-1, 1].
        generator: Draws the latents.
        kl_weight: Weight of the divergence, in nats a pixel.

    Returns:
        "loss" and its parts.

    Source: arXiv:2112.10752, section 3.1; the differences of neighbours stand in for its adversarial term, which a
    network this small does not carry.
    """
    gaussian = autoencoder.encode(pictures)
    made = autoencoder.decode(gaussian.sample(generator)).float()
    pixels = F.l1_loss(made, pictures)
    edges = sum(F.l1_loss(made.diff(dim=axis), pictures.diff(dim=axis)) for axis in (-1, -2))
    kl = gaussian.kl().mean() / pictures[0, 0].numel()
    return {"loss": pixels + edges + kl_weight * kl, "pixels": pixels, "kl": kl}


def caption_loss(logits: Tensor, tokens: Tensor, end: int) -> Tensor:
    """Cross-entropy in nats of a text's tokens up to and with its first end token.

    Args:
        logits: `(batch, length, vocabulary)`.
        tokens: `(batch, length)`, padded after the end token.
        end: Id of the end token.
    """
    ends_before = (tokens == end).cumsum(dim=1) - (tokens == end).long()
    losses = F.cross_entropy(logits.float().transpose(1, 2), tokens, reduction="none")
    counted = (ends_before == 0).to(losses)
    return (losses * counted).sum() / counted.sum()
