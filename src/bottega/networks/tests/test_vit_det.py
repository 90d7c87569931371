"""The plain vision transformer for dense tasks; its parity with transformers is tested where it is used."""

from __future__ import annotations

import pytest
import torch

from bottega.networks import VIT_DET_SIZES, VitDet, VitDetConfig

SMALL = VitDetConfig(
    size=48, patch_size=8, width=16, depth=2, num_heads=2, window=4, global_blocks=(1,), out_channels=8
)


def test_published_sizes():
    counts = {}
    for name, config in VIT_DET_SIZES.items():
        with torch.device("meta"):
            counts[name] = sum(p.numel() for p in VitDet(config).parameters())
    assert counts == {"b": 89_670_912, "l": 308_278_272, "h": 637_026_048}


def test_gradient_to_every_parameter():
    torch.manual_seed(0)
    model = VitDet(SMALL)
    model(torch.randn(2, 3, 48, 48)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_windows_keep_apart_what_the_last_block_joins():
    """Without blocks that attend everywhere a change stays in its window, but for the neck's 3 x 3 kernel."""
    torch.manual_seed(0)
    config = VitDetConfig(
        size=64, patch_size=8, width=16, depth=2, num_heads=2, window=4, global_blocks=(), out_channels=8
    )
    model, picture = VitDet(config).eval(), torch.randn(1, 3, 64, 64)
    changed = picture.clone()
    changed[..., :8, :8] += 1.0
    with torch.no_grad():
        moved = (model(changed) - model(picture)).abs().amax(1)[0] > 1e-7
    assert moved[:4, :4].all()
    assert not moved[5:, :].any()
    assert not moved[:, 5:].any()


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="48"):
        VitDet(SMALL)(torch.zeros(1, 3, 56, 56))
    with pytest.raises(ValueError, match="global_blocks"):
        VitDetConfig(depth=4, global_blocks=(4,))
