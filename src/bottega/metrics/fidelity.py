"""How close a picture is to its reference, pixel by pixel (PSNR) and by local structure (SSIM)."""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

from bottega.errors import RequestError

_WINDOW: Final = 11
_SIGMA: Final = 1.5
_K1: Final = 0.01
_K2: Final = 0.03


def psnr(pictures: Float[Tensor, "b c h w"], references: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Peak signal-to-noise ratio: 10 log10(range^2 / mean squared error), in dB.

    Args:
        pictures: In [-1, 1].
        references: What they should be, in [-1, 1].

    Returns:
        float64, one figure for each picture; infinite where they are equal.

    Raises:
        RequestError: The shapes differ.
    """
    a, b = _unit_range(pictures, references)
    return -10 * torch.log10((a - b).square().flatten(1).mean(dim=1))


def ssim(pictures: Float[Tensor, "b c h w"], references: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Structural similarity with a Gaussian window of 11 pixels and sigma 1.5, the mean over places and channels.

    Each channel is compared on its own, in [0, 1], with K1 = 0.01 and K2 = 0.03; only windows wholly inside count.

    Args:
        pictures: In [-1, 1], at least 11 pixels high and wide.
        references: What they should be, in [-1, 1].

    Returns:
        float64 in [-1, 1], one figure for each picture; 1 where they are equal.

    Raises:
        RequestError: The shapes differ, or the pictures are smaller than the window.

    Source:
        Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, 2004, equation 13.
    """
    a, b = _unit_range(pictures, references)
    if min(a.shape[2:]) < _WINDOW:
        raise RequestError.of("the size of the pictures", tuple(a.shape[2:]), f"at least {_WINDOW} pixels each way")
    mean_a, mean_b = _smooth(a), _smooth(b)
    variance_a = _smooth(a * a) - mean_a * mean_a
    variance_b = _smooth(b * b) - mean_b * mean_b
    covariance = _smooth(a * b) - mean_a * mean_b
    c1, c2 = _K1**2, _K2**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return (luminance * structure).flatten(1).mean(dim=1)


def _unit_range(pictures: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float64 in [0, 1]; the ratio of means in SSIM depends on where black is."""
    if pictures.ndim != 4 or pictures.shape != references.shape:
        raise RequestError.of(
            "the shape of the pictures", tuple(pictures.shape), f"(b, c, h, w) and {tuple(references.shape)}"
        )
    return (pictures.detach().double().cpu() + 1) / 2, (references.detach().double().cpu() + 1) / 2


def _smooth(planes: Tensor) -> Tensor:
    """The Gaussian mean around each place whose window lies inside: `(b, c, h - 10, w - 10)`."""
    distance = torch.arange(_WINDOW, dtype=planes.dtype) - _WINDOW // 2
    weights = torch.exp(-distance.square() / (2 * _SIGMA**2))
    weights = (weights / weights.sum()).repeat(planes.shape[1], 1, 1, 1)  # (c, 1, 1, window)
    channels = planes.shape[1]
    across = conv2d(planes, weights, groups=channels)
    return conv2d(across, weights.transpose(2, 3), groups=channels)
