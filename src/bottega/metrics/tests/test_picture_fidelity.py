"""PSNR and SSIM against scikit-image and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import bottega.metrics
from bottega.errors import RequestError

psnr = jaxtyped(typechecker=beartype)(bottega.metrics.psnr)
ssim = jaxtyped(typechecker=beartype)(bottega.metrics.ssim)


def pair(channels: int, height: int, width: int, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(channels + height)
    waves = torch.linspace(0, 9, height)[:, None].sin() * torch.linspace(0, 5, width).cos()
    reference = (waves * torch.tensor([1.0, 0.5, -0.8])[:channels, None, None]).repeat(2, 1, 1, 1)
    noisy = reference + noise * torch.randn(reference.shape, generator=generator)
    return noisy.clamp(-1, 1).double(), reference.double()


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 40, 33), (1, 11, 11), (3, 64, 64)])
@pytest.mark.parametrize("noise", [0.02, 0.4])
def test_psnr_and_ssim_equal_scikit_image(channels, height, width, noise):
    pictures, references = pair(channels, height, width, noise)
    ours = torch.stack([psnr(pictures, references), ssim(pictures, references)])
    for column, (a, b) in enumerate(zip(((pictures + 1) / 2).numpy(), ((references + 1) / 2).numpy(), strict=True)):
        expected_psnr = peak_signal_noise_ratio(b, a, data_range=1.0)
        expected_ssim = structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=0
        )
        assert ours[0, column].item() == pytest.approx(expected_psnr, abs=1e-10)
        assert ours[1, column].item() == pytest.approx(expected_ssim, abs=1e-12)


def test_a_known_error_has_a_known_psnr():
    """An error of 0.2 in a range of 2 is a tenth: 20 dB."""
    black = torch.full((1, 3, 8, 8), -1.0)
    assert psnr(black + 0.2, black).item() == pytest.approx(20, abs=1e-5)


def test_equal_pictures_are_perfect():
    pictures, _ = pair(3, 16, 20, 0.1)
    assert psnr(pictures, pictures).tolist() == [math.inf, math.inf]
    assert ssim(pictures, pictures).tolist() == pytest.approx([1, 1])


def test_flat_pictures_have_the_ssim_of_their_means():
    """Without structure: (2 a b + C1) / (a^2 + b^2 + C1), with C1 = 0.01^2, for means in [0, 1]."""
    a, b = torch.full((1, 1, 16, 16), 0.0), torch.full((1, 1, 16, 16), 1.0)  # 0.5 and 1 in [0, 1]
    expected = (2 * 0.5 * 1 + 1e-4) / (0.25 + 1 + 1e-4)
    assert ssim(a, b).item() == pytest.approx(expected, abs=1e-9)


def test_shapes_that_differ_or_are_too_small_are_refused():
    with pytest.raises(RequestError, match="must be"):
        bottega.metrics.psnr(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))
    with pytest.raises(RequestError, match="at least 11 pixels"):
        bottega.metrics.ssim(torch.zeros(1, 3, 10, 30), torch.zeros(1, 3, 10, 30))
