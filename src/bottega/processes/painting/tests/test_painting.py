"""In-context painting: values there and back, masks with the right share, a loss that sees only what it should."""

from __future__ import annotations

import torch
from transformers import SegGptConfig
from transformers.models.seggpt.modeling_seggpt import SegGptLoss

from bottega.processes.masked import BlockMasks
from bottega.processes.painting import from_paint, painting_loss, stacked, to_paint, training_masks, unknown_half

MASKS = BlockMasks(rows=8, columns=4, masked=16, smallest=2)


def test_values_go_there_and_back() -> None:
    pictures = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(from_paint(to_paint(pictures)), pictures)
    assert to_paint(torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)).abs().max() == 0
    assert torch.equal(stacked(pictures, pictures + 1)[:, :, 5:], pictures + 1)


def test_masks_are_whole_queries_or_half_of_all() -> None:
    generators = [torch.Generator().manual_seed(seed) for seed in range(200)]
    drawn, half = training_masks(MASKS, 0.3, generators), unknown_half(4, 4)[0]
    whole = (drawn == half).flatten(1).all(dim=1)
    assert 40 < whole.sum() < 80
    assert (drawn.flatten(1).sum(dim=1) == 16).all()
    assert torch.equal(drawn, training_masks(MASKS, 0.3, generators))


def test_the_loss_is_transformers_and_sees_masked_valid_pixels_only() -> None:
    generator = torch.Generator().manual_seed(1)
    made, target, label = (torch.randn(2, 3, n, 8, generator=generator) for n in (16, 8, 8))
    masked = torch.rand(2, 8, 4, generator=generator) < 0.5
    peer = SegGptLoss(SegGptConfig(patch_size=2))(target, made, label, masked.flatten(1))
    made.requires_grad_()
    torch.testing.assert_close(painting_loss(made, stacked(target, label), masked), peer)
    valid = (torch.rand(2, 1, 16, 8, generator=generator) < 0.7).float()
    painting_loss(made, stacked(target, label), masked, valid).backward()
    assert made.grad is not None
    seen = masked.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None] & (valid > 0)
    assert ((made.grad.abs() > 0) == seen.expand_as(made)).all()
    assert painting_loss(made, made.detach() + 1, torch.zeros_like(masked)) == 0
