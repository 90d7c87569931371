"""T5's encoder against transformers' T5EncoderModel on random weights, and its published sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bottega.networks import (
    T5_SIZES,
    T5Encoder,
    T5EncoderConfig,
    t5_encoder_config,
    t5_encoder_json,
    t5_encoder_keys,
)
from bottega.weights import load_into, read_folder_config, read_folder_tensors, to_ours, to_theirs


def small(gated: bool) -> T5EncoderConfig:
    return T5EncoderConfig(
        vocabulary=50, width=24, hidden=40, depth=3, num_heads=3, head_dim=6, gated=gated, buckets=8, max_distance=12
    )


@pytest.mark.parametrize("gated", [True, False])
@torch.no_grad()
def test_equals_transformers_and_goes_back_bit_for_bit(gated: bool, tmp_path: Path) -> None:
    from transformers import T5Config, T5EncoderModel

    config = small(gated)
    peer = T5EncoderModel(T5Config(**t5_encoder_json(config))).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in peer.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(0.3 * noise + (1 if parameter.ndim == 1 else 0))
    peer.save_pretrained(tmp_path)
    published = read_folder_tensors(tmp_path)
    assert t5_encoder_config(read_folder_config(tmp_path)) == config
    ours = T5Encoder(config).eval()
    load_into(ours, to_ours(t5_encoder_keys(config), published), source="peer")
    tokens = torch.randint(1, 50, (3, 20), generator=generator)
    tokens[1, 9:], tokens[2, 1:] = 0, 0
    mask = tokens != 0
    made = ours(tokens)[mask]
    expected = peer(input_ids=tokens, attention_mask=mask.long()).last_hidden_state[mask]
    assert float((made - expected).abs().max() / expected.abs().max()) < 1e-5
    back = to_theirs(t5_encoder_keys(config), ours.state_dict())
    assert back.keys() == published.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in published.items())


@pytest.mark.parametrize(("name", "parameters"), [
    ("t5-v1.1-small", 35_332_800), ("t5-v1.1-base", 109_628_544), ("t5-v1.1-large", 341_231_104),
    ("t5-v1.1-xl", 1_223_527_424), ("t5-v1.1-xxl", 4_762_310_656), ("t5-large", 334_939_648),
])  # fmt: skip
def test_published_sizes(name: str, parameters: int) -> None:
    """The counts of transformers' T5EncoderModel for google's configurations."""
    with torch.device("meta"):
        model = T5Encoder(T5_SIZES[name])
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@torch.no_grad()
def test_padding_changes_nothing_and_order_does() -> None:
    torch.manual_seed(0)
    model = T5Encoder(small(gated=True)).eval()
    tokens = torch.tensor([[5, 7, 9]])
    padded = torch.nn.functional.pad(tokens, (0, 4))
    torch.testing.assert_close(model(padded)[:, :3], model(tokens))
    torch.testing.assert_close(model(padded, padded > 0)[:, :3], model(tokens))
    assert (model(tokens.flip(1)).flip(1) - model(tokens)).abs().max() > 1e-3


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    model = T5Encoder(small(gated=True))
    model(torch.randint(1, 50, (2, 30))).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
