"""EVA's transformers: dropped and hidden patches, rotary positions, initial weights."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bottega.networks import Eva, EvaBlocks, EvaConfig

SMALL = EvaConfig(size=16, patch_size=4, width=32, depth=3, num_heads=2, hidden=64)
KINDS = [replace(SMALL, blocks=kind) for kind in EvaBlocks]


def tower(config: EvaConfig, seed: int = 0) -> Eva:
    """A tower with every parameter drawn."""
    torch.manual_seed(seed)
    made = Eva(config).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape))
    return made


def pictures(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.blocks.value)
def test_patches_that_stay_keep_their_own_positions(config: EvaConfig) -> None:
    """Kept in another order, or all kept: the same features, token by token."""
    model, shown = tower(config), pictures()
    whole = model(shown)
    everything = torch.arange(16).expand(2, -1)
    torch.testing.assert_close(model(shown, kept=everything), whole)
    order = torch.stack([torch.randperm(16, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)])
    mixed = model(shown, kept=order)
    torch.testing.assert_close(mixed[:, 1:], whole[:, 1:].take_along_dim(order[..., None], dim=1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mixed[:, 0], whole[:, 0], atol=1e-4, rtol=1e-4)
    few = model(shown, kept=order[:, :5])
    assert few.shape == (2, 6, 32)
    assert (few[:, 0] - whole[:, 0]).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.blocks.value)
def test_what_is_dropped_or_hidden_is_not_seen(config: EvaConfig) -> None:
    model, shown = tower(config), pictures()
    other = shown.clone()
    other[:, :, :4, :4] = 9.0  # patch 0
    kept = torch.arange(1, 16).expand(2, -1)
    assert torch.equal(model(shown, kept=kept), model(other, kept=kept))
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[:, 0] = True
    token = torch.randn(32)
    told = model(shown, hidden=(mask, token))
    assert told.shape == (2, 17, 32)  # as many tokens as before
    assert torch.equal(told, model(other, hidden=(mask, token)))
    assert not torch.equal(model(shown), model(other))
    assert not torch.equal(told, model(shown, hidden=(mask, token + 1)))


@torch.no_grad()
def test_rotary_scores_depend_on_differences_of_places_alone() -> None:
    model = Eva(replace(SMALL, blocks=EvaBlocks.ROTARY))
    turns = model.turns(torch.device("cpu"), None)
    q, k = torch.randn(16), torch.randn(16)
    assert torch.equal(turns.rotate(q.expand(17, 16))[0], q)  # the class token stays
    scores = turns.rotate(q.expand(17, 16))[1:] @ turns.rotate(k.expand(17, 16))[1:].T
    grid = scores.view(4, 4, 4, 4)
    torch.testing.assert_close(grid[0, 0, 1, 2], grid[2, 1, 3, 3], atol=1e-5, rtol=1e-5)
    assert (grid[0, 0, 1, 2] - grid[0, 0, 2, 1]).abs() > 1e-3  # rows and columns differ
    assert turns.cos.shape == (17, 8)


def test_deeper_blocks_start_smaller() -> None:
    """BEiT's rescaling: block l's last products are divided by sqrt(2 l)."""
    torch.manual_seed(0)
    model = Eva(EvaConfig(size=16, patch_size=4, width=128, depth=8, num_heads=2, hidden=512, init_std=0.015))
    for number in (1, 8):
        for name in ("attention.proj", "mlp.fc2"):
            std = model.get_parameter(f"blocks.{number - 1}.{name}.weight").std().item()
            # a normal cut at one deviation has 0.5397 of it left
            assert std == pytest.approx(0.5397 * 0.015 / math.sqrt(2 * number), rel=0.03)
    assert model.get_parameter("blocks.7.mlp.fc1.weight").std().item() == pytest.approx(0.5397 * 0.015, rel=0.03)
    assert "blocks.0.attention.k_bias" not in dict(model.named_parameters())


def test_every_parameter_gets_a_gradient_and_paths_drop_in_training() -> None:
    model = tower(replace(SMALL, drop_path=0.5)).train()
    torch.manual_seed(1)
    first, second = model(pictures()), model(pictures())
    assert not torch.equal(first, second)
    model.eval()
    assert torch.equal(model(pictures()), model(pictures()))
    (model(pictures()) * torch.randn(2, 17, 32)).sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in model.parameters())


@pytest.mark.parametrize(
    "changes", [{"size": 18}, {"num_heads": 3}, {"drop_path": 1.0}, {"num_heads": 16, "blocks": EvaBlocks.ROTARY}]
)
def test_impossible_sizes_are_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match=r"must|cannot"):
        replace(SMALL, **changes)


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="16 pixels"):
        Eva(SMALL)(torch.zeros(1, 3, 20, 20))
