"""The vision transformer against transformers' ViTModel on random weights, and its published sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bottega.networks import VIT_SIZES, Vit, VitConfig, vit_keys
from bottega.weights import load_into, read_folder_tensors, to_ours, to_theirs

CONFIG = VitConfig(size=24, patch_size=8, width=24, depth=2, num_heads=3)


def peer() -> torch.nn.Module:
    """transformers' model of the same size, every parameter random."""
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
    model = ViTModel(ViTConfig(**sizes, image_size=24, patch_size=8), add_pooling_layer=False).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * 0.3 + (1 if parameter.ndim == 1 else 0))
    return model


@torch.no_grad()
def test_equals_transformers_and_goes_back_bit_for_bit(tmp_path: Path) -> None:
    theirs = peer()
    theirs.save_pretrained(tmp_path)
    published = read_folder_tensors(tmp_path)
    ours = Vit(CONFIG).eval()
    load_into(ours, to_ours(vit_keys(CONFIG), published), source="peer")
    pictures = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    made, expected = ours(pictures), theirs(pictures).last_hidden_state
    assert float((made - expected).abs().max() / expected.abs().max()) < 1e-5
    back = to_theirs(vit_keys(CONFIG), ours.state_dict())
    assert back.keys() == published.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in published.items())


@pytest.mark.parametrize(
    ("name", "parameters"), [("base-16", 85_798_656), ("large-16", 303_301_632), ("huge-14", 630_764_800)]
)
def test_published_sizes(name: str, parameters: int) -> None:
    with torch.device("meta"):
        model = Vit(VIT_SIZES[name])
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="16x24"):
        Vit(CONFIG)(torch.zeros(1, 3, 16, 24))
