"""Attention on a grid against transformers' SAM, and its windows, blocks and interpolated positions."""

import pytest
import torch
from torch import Tensor, nn
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionAttention, SamVisionLayer

from bottega.layers import ChannelNorm, GridAttention, grid_attention, unwindows, windows


def randomised(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return module.requires_grad_(False)


def same_weights(ours: GridAttention, theirs: nn.Module) -> None:
    names = {"rel_pos_h": "row_positions", "rel_pos_w": "column_positions"}
    ours.load_state_dict({names.get(key, key): value for key, value in theirs.state_dict().items()})


@pytest.mark.parametrize("no_grad", [True, False])
@pytest.mark.parametrize(("side", "window"), [(8, 0), (10, 4), (8, 4), (10, 3)])
def test_equals_the_attention_of_transformers_sam(side: int, window: int, no_grad: bool, monkeypatch) -> None:
    monkeypatch.setattr(grid_attention, "MANY_TOKENS", 30)
    monkeypatch.setattr(grid_attention, "BLOCK_BYTES", 5000)  # small enough for several blocks
    config = SamVisionConfig(hidden_size=32, num_attention_heads=4, image_size=16 * side, patch_size=16)
    config._attn_implementation = "eager"
    grid = (window or side, window or side)
    peer = randomised(SamVisionAttention(config, window))
    ours = GridAttention(32, 4, grid, window=bool(window))
    same_weights(ours, peer)
    x = torch.randn(2, side, side, 32)
    layer = SamVisionLayer(config, window)
    with torch.inference_mode(no_grad):
        if window:
            cells, padded = layer.window_partition(x, window)
            wanted = layer.window_unpartition(peer(cells)[0], window, padded, (side, side))
        else:
            wanted = peer(x)[0]
        assert torch.allclose(ours(x), wanted, atol=2e-5)


def test_blocks_of_rows_do_not_change_the_result(monkeypatch) -> None:
    layer = randomised(GridAttention(24, 3, (6, 5)))
    x = torch.randn(2, 6, 5, 24)
    with torch.no_grad():
        whole = layer(x)
        monkeypatch.setattr(grid_attention, "MANY_TOKENS", 1)
        monkeypatch.setattr(grid_attention, "BLOCK_BYTES", 1)
        assert torch.allclose(layer(x), whole, atol=1e-5)


def test_windows_come_back_and_do_not_see_each_other() -> None:
    x = torch.randn(2, 7, 10, 3)
    cells = windows(x, (4, 5), torch.zeros(3))
    assert cells.shape == (2 * 2 * 2, 4, 5, 3)
    assert torch.equal(unwindows(cells, (4, 5), 7, 10), x)
    layer = randomised(GridAttention(8, 2, (4, 5), window=True))
    x = torch.randn(1, 8, 10, 8)
    changed = x.clone()
    changed[:, :4, :5] += 1
    difference = (layer(x) - layer(changed)).abs().amax(-1)[0]
    assert (difference[:4, :5] > 0).all()
    assert not difference[4:].any()
    assert not difference[:, 5:].any()


def test_positions_matter_and_every_parameter_learns() -> None:
    layer = GridAttention(16, 2, (3, 4))
    x = torch.randn(1, 3, 4, 16)
    turned = layer(x.flip(1)).flip(1)
    assert torch.allclose(turned, layer(x), atol=1e-6), "without positions a grid may be turned over"
    nn.init.normal_(layer.row_positions)
    assert not torch.allclose(layer(x.flip(1)).flip(1), layer(x), atol=1e-3)
    layer(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


def test_a_grid_of_another_size_is_served_by_interpolated_positions() -> None:
    layer = randomised(GridAttention(16, 2, (4, 4)))
    assert layer(torch.randn(1, 9, 6, 16)).shape == (1, 9, 6, 16)


def test_width_must_be_a_multiple_of_the_heads() -> None:
    with pytest.raises(ValueError, match="multiple of num_heads 3"):
        GridAttention(16, 3, (4, 4))


def test_channel_norm_is_layer_norm_of_every_pixel() -> None:
    norm, x = ChannelNorm(6), torch.randn(2, 6, 4, 5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    pixel: Tensor = nn.functional.layer_norm(x[1, :, 2, 3], (6,), norm.weight, norm.bias, 1e-6)
    assert torch.allclose(norm(x)[1, :, 2, 3], pixel, atol=1e-6)
