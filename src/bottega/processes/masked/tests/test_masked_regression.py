"""Losses on hidden patches, and which patches a tower reads."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bottega.errors import RequestError
from bottega.processes.masked import kept_count, kept_patches, masked_cosine, masked_squares, patch_pixels


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MASK = torch.tensor([[True, False, True, False, False], [False, False, True, True, True]])


@pytest.mark.parametrize("loss", [masked_cosine, masked_squares])
def test_only_hidden_patches_count(loss) -> None:
    predicted, target = drawn(2, 5, 7).requires_grad_(), drawn(2, 5, 7, seed=1)
    value = loss(predicted, target, MASK)
    (gradient,) = torch.autograd.grad(value, predicted)
    assert (gradient[~MASK] == 0).all()
    assert (gradient[MASK].abs().sum(-1) > 0).all()
    elsewhere = torch.where(MASK[..., None], target, drawn(2, 5, 7, seed=2))
    assert loss(predicted, elsewhere, MASK) == value


@pytest.mark.parametrize("loss", [masked_cosine, masked_squares])
def test_the_teacher_gets_no_gradient(loss) -> None:
    target = drawn(2, 5, 7, seed=1).requires_grad_()
    assert not loss(drawn(2, 5, 7), target, MASK).requires_grad


def test_the_cosine_is_the_mean_over_hidden_patches_of_all_pictures() -> None:
    predicted, target = drawn(2, 5, 7), drawn(2, 5, 7, seed=1)
    pairs = [(predicted[b, n], target[b, n]) for b in range(2) for n in range(5) if MASK[b, n]]
    expected = torch.stack([(a @ b) / (a.norm() * b.norm()) for a, b in pairs]).mean()
    torch.testing.assert_close(masked_cosine(predicted, target, MASK).double(), expected, atol=1e-6, rtol=1e-6)
    assert masked_cosine(target, 3 * target, MASK) == pytest.approx(1.0)
    assert masked_cosine(target, -target, MASK) == pytest.approx(-1.0)


def test_patches_of_pixels_are_row_by_row_and_normalised() -> None:
    picture = drawn(2, 3, 8, 12)
    pixels = patch_pixels(picture, 4)
    assert pixels.shape == (2, 6, 48)
    corner = picture[1, :, 4:8, 4:8].flatten()  # the second row's second patch is number 4 of 2 x 3
    torch.testing.assert_close(pixels[1, 4], (corner - corner.mean()) / (corner.var() + 1e-6).sqrt())
    even = patch_pixels(torch.ones(1, 3, 4, 4), 4)
    assert (even == 0).all()


@pytest.mark.parametrize(("patches", "dropped", "kept"), [(256, 0.5, 128), (256, 0.75, 64), (9, 0.5, 4), (3, 0.9, 1)])
def test_so_many_patches_stay(patches: int, dropped: float, kept: int) -> None:
    assert kept_count(patches, dropped) == kept
    rows = kept_patches(patches, dropped, [torch.Generator().manual_seed(seed) for seed in range(20)])
    assert rows.shape == (20, kept)
    assert all(len(set(row.tolist())) == kept for row in rows)
    assert rows.min() >= 0
    assert rows.max() < patches
    assert (rows.diff(dim=1) > 0).all()


def test_every_patch_stays_equally_often_and_by_its_own_generator() -> None:
    generators = [torch.Generator().manual_seed(seed) for seed in range(2000)]
    rows = kept_patches(16, 0.5, generators)
    often = F.one_hot(rows, 16).sum((0, 1)) / 2000
    assert (often - 0.5).abs().max() < 0.05
    alone = kept_patches(16, 0.5, [torch.Generator().manual_seed(7)])
    assert torch.equal(alone[0], rows[7])


def test_dropping_everything_is_refused() -> None:
    with pytest.raises(RequestError, match="dropped"):
        kept_count(16, 1.0)
