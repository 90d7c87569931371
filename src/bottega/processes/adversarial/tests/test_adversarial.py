"""Losses of two networks against exact derivatives, and augmentation against the official code.

The numbers of `AUGMENTED` were made with NVlabs/stylegan2-ada-pytorch at its main branch, by this script in its root:

    import torch
    from training.augment import AugmentPipe
    kinds = dict(xflip=1, rotate90=1, xint=1, scale=1, rotate=1, aniso=1, xfrac=1, brightness=1, contrast=1,
                 lumaflip=1, hue=1, saturation=1)
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for percentile in (0.2, 0.35, 0.7):
        y = AugmentPipe(**kinds)(x, debug_percentile=percentile).flatten()
        print(y[torch.linspace(0, len(y) - 1, 6).long()], y.norm())
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bottega.processes.adversarial import (
    AdaptiveStrength,
    Moves,
    Recolouring,
    augmented,
    discriminator_loss,
    generator_loss,
    moved,
    path_length_penalty,
    path_lengths,
    r1_penalty,
    recoloured,
)

AUGMENTED = {
    0.2: [-0.03528954088687897, 0.525782585144043, -0.06800303608179092, 0.05674763023853302, 0.2827222943305969,
          -0.14950740337371826, 19.979921340942383],
    0.35: [-0.3002414405345917, -0.6588798761367798, 0.11597336828708649, 0.8727894425392151, -0.3406910002231598,
           0.2041385918855667, 24.39398956298828],
    0.7: [-0.4092012047767639, 0.08364961296319962, 1.4584565162658691, 0.9719215035438538, 0.17646610736846924,
          -0.4743298888206482, 43.58329391479492],
}  # fmt: skip


def at_percentile(share: float, count: int, side: int) -> tuple[Moves, Recolouring]:
    """Every change at one percentile of its distribution."""
    bell = torch.erfinv(torch.tensor(2 * share - 1)).item()  # theirs: no factor of the root of 2
    line, pair = torch.ones(count), torch.ones(count, 2)
    moves = Moves(
        mirror=line * math.floor(2 * share),
        quarters=line * math.floor(4 * share),
        jump=(pair * (2 * share - 1) * 0.125 * side).round(),
        scale=line * 2 ** (0.2 * bell),
        turn=line * (2 * share - 1) * math.pi,
        stretch=line * 2 ** (0.2 * bell),
        turn_after=line * 0,
        shift=pair * 0.125 * bell,
    )
    colours = Recolouring(
        brightness=line * 0.2 * bell,
        contrast=line * 2 ** (0.5 * bell),
        luma_flip=line * math.floor(2 * share),
        hue=line * (2 * share - 1) * math.pi,
        saturation=line * 2**bell,
    )
    return moves, colours


@pytest.mark.parametrize("share", AUGMENTED)
def test_augmentation_is_the_official_one(share):
    pictures = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    moves, colours = at_percentile(share, 2, 16)
    made = recoloured(moved(pictures, moves), colours).flatten()
    found = [*made[torch.linspace(0, len(made) - 1, 6).long()], made.norm()]
    torch.testing.assert_close(torch.stack(found), torch.tensor(AUGMENTED[share]), atol=1e-4, rtol=1e-4)


def test_without_the_filter_moves_are_the_same_but_for_sharpness():
    coarse = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    smooth = nn.functional.interpolate(coarse, (32, 32), mode="bicubic")
    moves, _ = at_percentile(0.35, 2, 32)
    difference = (moved(smooth, moves, filtered=False) - moved(smooth, moves))[..., 4:-4, 4:-4]
    assert difference.abs().mean() < 0.05 * smooth.abs().mean()


def test_no_strength_changes_nothing_and_full_strength_everything():
    pictures, draw = torch.rand(6, 3, 16, 16), torch.Generator().manual_seed(3)
    plain = augmented(pictures, torch.tensor(0.0), draw, filtered=False)
    torch.testing.assert_close(plain, pictures, atol=1e-5, rtol=0)
    changed = augmented(pictures, torch.tensor(1.0), draw)
    assert ((changed - pictures).abs().mean((1, 2, 3)) > 0.05).all()


def test_augmentation_passes_gradients():
    pictures = torch.rand(2, 3, 16, 16, requires_grad=True)
    augmented(pictures, torch.tensor(0.8), torch.Generator().manual_seed(0)).sum().backward()
    assert pictures.grad.abs().sum() > 0


def test_strength_follows_the_sign_of_the_scores():
    strength = AdaptiveStrength(target=0.6, samples=800, every=4)
    for step in range(8):
        strength.update(torch.ones(10), step)
    assert float(strength.strength) == pytest.approx(0.1)
    for step in range(8, 40):
        strength.update(torch.tensor([1.0, -1.0]), step)
    assert float(strength.strength) == pytest.approx(0.1 - 64 / 800)
    for step in range(40, 60):
        strength.update(torch.tensor([1.0, -1.0]), step)
    assert float(strength.strength) == 0.0


def test_losses_are_the_saturating_free_ones():
    real, made = torch.tensor([0.5, -2.0]), torch.tensor([1.0, 3.0])
    assert generator_loss(made) == pytest.approx(-torch.log(torch.sigmoid(made)).mean().item())
    expected = -(torch.log(torch.sigmoid(real)).mean() + torch.log(1 - torch.sigmoid(made)).mean())
    assert discriminator_loss(real, made) == pytest.approx(expected.item(), rel=1e-5)


def test_r1_of_a_linear_score_is_its_squared_slope():
    slope = torch.randn(3, 4, 4).requires_grad_()
    penalty = r1_penalty(lambda shown: (shown * slope).sum((1, 2, 3)), torch.randn(5, 3, 4, 4))
    assert penalty.item() == pytest.approx(slope.square().sum().item(), rel=1e-5)
    penalty.backward()
    torch.testing.assert_close(slope.grad, 2 * slope.detach())


def test_path_lengths_of_a_linear_generator_are_exact():
    weights, noise = torch.randn(48, 6).requires_grad_(), torch.randn(2, 3, 4, 4)
    styles = torch.randn(2, 1, 6, requires_grad=True)
    pictures = (styles[:, 0] @ weights.T).reshape(2, 3, 4, 4)
    expected = (noise.flatten(1) / 4 @ weights).norm(dim=1)
    lengths = path_lengths(pictures, styles, noise)
    torch.testing.assert_close(lengths, expected)
    penalty, mean = path_length_penalty(lengths, torch.tensor(1.0), decay=0.5)
    assert mean.item() == pytest.approx(0.5 + 0.5 * lengths.mean().item())
    penalty.backward()
    assert weights.grad.abs().sum() > 0
