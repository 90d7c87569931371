from __future__ import annotations

import dataclasses

import pytest
import torch
from transformers import DeepseekV2Config
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Attention, DeepseekV2RotaryEmbedding

from bottega.layers import LatentAttention, LatentConfig, LatentMemory

SMALL = LatentConfig(width=32, heads=4, plain_dim=6, rotary_dim=8, value_dim=10, rank=12, query_rank=14)


def peer_config(config: LatentConfig) -> DeepseekV2Config:
    return DeepseekV2Config(
        hidden_size=config.width, num_attention_heads=config.heads, qk_nope_head_dim=config.plain_dim,
        qk_rope_head_dim=config.rotary_dim, v_head_dim=config.value_dim, kv_lora_rank=config.rank,
        q_lora_rank=config.query_rank, attn_implementation="eager",
    )  # fmt: skip


def names(config: LatentConfig) -> dict[str, str]:
    queries = {"query.weight": "q_proj.weight"}
    if config.query_rank is not None:
        queries = {
            "query.0.weight": "q_a_proj.weight",
            "query.1.weight": "q_a_layernorm.weight",
            "query.2.weight": "q_b_proj.weight",
        }
    return queries | {
        "down.weight": "kv_a_proj_with_mqa.weight",
        "norm.weight": "kv_a_layernorm.weight",
        "up.weight": "kv_b_proj.weight",
        "proj.weight": "o_proj.weight",
    }


def filled(config: LatentConfig) -> LatentAttention:
    torch.manual_seed(0)
    layer = LatentAttention(config)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return layer


def tokens(config: LatentConfig, count: int = 9) -> torch.Tensor:
    return torch.randn(2, count, config.width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("query_rank", [14, None])
@torch.no_grad()
def test_it_is_deepseeks_attention(query_rank: int | None) -> None:
    config = dataclasses.replace(SMALL, query_rank=query_rank)
    ours, theirs = filled(config), DeepseekV2Attention(peer_config(config), 0)
    peer_state = {theirs_name: ours.state_dict()[name] for name, theirs_name in names(config).items()}
    theirs.load_state_dict(peer_state)
    x = tokens(config)
    turns = DeepseekV2RotaryEmbedding(peer_config(config))(x, torch.arange(9)[None])
    mask = torch.full((9, 9), -torch.inf).triu(1)[None, None]
    expected, _ = theirs(x, attention_mask=mask, position_embeddings=turns)
    torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("query_rank", [14, None])
def test_absorbed_is_explicit(query_rank: int | None) -> None:
    layer, x = filled(dataclasses.replace(SMALL, query_rank=query_rank)), tokens(SMALL)
    torch.testing.assert_close(layer(x, absorbed=True), layer(x), atol=1e-5, rtol=1e-4)


def test_a_memory_of_small_vectors_changes_nothing() -> None:
    layer, x, memory = filled(SMALL), tokens(SMALL), LatentMemory()
    pieces = [(0, 4, False), (4, 5, True), (5, 6, True), (6, 9, True)]
    parts = [layer(x[:, a:b], memory, absorbed=absorbed) for a, b, absorbed in pieces]
    torch.testing.assert_close(torch.cat(parts, 1), layer(x), atol=1e-5, rtol=1e-4)
    assert memory.bytes == 2 * 9 * SMALL.numbers_per_token * 4


def test_deepseek_v2_has_its_published_layer() -> None:
    with torch.device("meta"):
        ours, theirs = LatentAttention(LatentConfig()), DeepseekV2Attention(peer_config(LatentConfig()), 0)
    count, peer = (sum(p.numel() for p in layer.parameters()) for layer in (ours, theirs))
    by_hand = 5120 * 1536 + 1536 + 1536 * 128 * 192 + 5120 * 576 + 512 + 512 * 128 * 256 + 128 * 128 * 5120
    assert count == peer == by_hand
    assert LatentConfig().numbers_per_token == 576  # 4.5 head dimensions, arXiv:2405.04434 table 1
