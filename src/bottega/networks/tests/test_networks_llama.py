from __future__ import annotations

import dataclasses

import pytest
import torch
from transformers import LlamaConfig as PeerConfig
from transformers import LlamaForCausalLM

from bottega.errors import RequestError, WeightsError
from bottega.layers import RotaryLayout, attend, attend_grouped
from bottega.layers.rotary import Rotary
from bottega.networks import Llama, LlamaConfig, llama_config, llama_json, llama_keys, llama_meta_keys
from bottega.weights import to_ours, to_theirs

SMALL = LlamaConfig(vocabulary=97, context=64, width=64, depth=3, num_heads=8, num_kv_heads=8, hidden=112)


def random_llama(config: LlamaConfig, seed: int = 0) -> Llama:
    torch.manual_seed(seed)
    model = Llama(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return model


def tokens_of(config: LlamaConfig, rows: int, count: int) -> torch.Tensor:
    return torch.randint(0, config.vocabulary, (rows, count), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kv_heads", [8, 2, 1])
def test_the_decoder_equals_its_peer_in_both_directions(kv_heads: int, tied: bool) -> None:
    config = dataclasses.replace(SMALL, num_kv_heads=kv_heads, tied=tied, rope_base=5000.0)
    model = random_llama(config)
    peer = LlamaForCausalLM(PeerConfig(**llama_json(config))).eval()
    theirs = to_theirs(llama_keys(config), dict(model.state_dict()))
    assert not peer.load_state_dict(theirs, strict=not tied).unexpected_keys
    tokens = tokens_of(config, 2, 40)
    with torch.no_grad():
        expected, got = peer(tokens).logits, model(tokens)
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()
    assert llama_config(peer.config.to_dict()) == config
    again = to_ours(llama_keys(config), {k: v for k, v in peer.state_dict().items() if not tied or "lm_head" not in k})
    assert all(torch.equal(again[key], value) for key, value in model.state_dict().items())


def test_metas_layout_turns_neighbouring_channels() -> None:
    config = dataclasses.replace(SMALL, num_kv_heads=2)
    model = random_llama(config)
    meta = to_theirs(llama_meta_keys(config), dict(model.state_dict()))
    ours = to_ours(llama_meta_keys(config), meta)
    assert all(torch.equal(ours[key], value) for key, value in model.state_dict().items())
    x = torch.randn(1, 5, config.width, generator=torch.Generator().manual_seed(2))
    head, positions = config.head_dim, torch.arange(5)
    scores = []
    for weights, layout in (
        (meta, RotaryLayout.PAIRS),
        (to_theirs(llama_keys(config), dict(model.state_dict())), None),
    ):
        names = ("layers.0.attention.wq.weight", "layers.0.attention.wk.weight")
        if layout is None:
            names = ("model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight")
        turns = Rotary(head, config.rope_base, layout or RotaryLayout.HALVES).turns(positions)
        q, k = ((x @ weights[name].T).unflatten(-1, (-1, head)).transpose(1, 2) for name in names)
        scores.append(turns.rotate(q[:, :2]) @ turns.rotate(k).transpose(-2, -1))
    assert torch.allclose(scores[0], scores[1], atol=1e-5)


@pytest.mark.parametrize("layout", list(RotaryLayout))
def test_rotary_scores_depend_on_differences_of_positions_only(layout: RotaryLayout) -> None:
    q, k = torch.randn(2, 1, 6, 16, generator=torch.Generator().manual_seed(0)).double()
    rotary = Rotary(16, layout=layout)
    here, there = (rotary.turns(torch.arange(6) + shift, torch.float64) for shift in (0, 17))
    assert torch.allclose(here.rotate(q) @ here.rotate(k).mT, there.rotate(q) @ there.rotate(k).mT, atol=1e-5)
    assert not torch.allclose(here.rotate(q) @ here.rotate(k).mT, q @ k.mT, atol=1e-2)


@pytest.mark.parametrize("kv_heads", [8, 2, 1])
def test_a_memory_changes_nothing_whatever_the_pieces(kv_heads: int) -> None:
    config = dataclasses.replace(SMALL, num_kv_heads=kv_heads)
    model, tokens = random_llama(config), tokens_of(config, 2, 20)
    with torch.no_grad():
        whole = model(tokens)
        memory = model.new_memory(2, capacity=20)
        parts = [model(tokens[:, a:b], memory) for a, b in ((0, 7), (7, 8), (8, 13))]
        assert torch.allclose(torch.cat(parts, 1), whole[:, :13], atol=2e-5)
        memory.crop([13, 11])  # rows of different lengths
        shifted = torch.stack((tokens[0, 13:17], tokens[1, 11:15]))
        uneven = model(shifted, memory)
    assert torch.allclose(uneven[0], whole[0, 13:17], atol=2e-5)
    assert torch.allclose(uneven[1], whole[1, 11:15], atol=2e-5)


def test_rows_of_a_memory_can_change_places() -> None:
    model, tokens = random_llama(SMALL), tokens_of(SMALL, 3, 10)
    with torch.no_grad():
        whole = model(tokens)
        memory = model.new_memory(3)
        model(tokens[:, :6], memory)
        memory.select([2, 0])
        got = model(tokens[[2, 0], 6:], memory)
    assert torch.allclose(got, whole[[2, 0], 6:], atol=2e-5)


def test_a_full_memory_says_so() -> None:
    model = random_llama(SMALL)
    memory = model.new_memory(1, capacity=4)
    with pytest.raises(RequestError, match="at most 4"):
        model(tokens_of(SMALL, 1, 5), memory)
    with pytest.raises(ValueError, match="cannot be cut"):
        memory.crop(1)


def test_logits_can_be_asked_for_at_places() -> None:
    model, tokens = random_llama(SMALL), tokens_of(SMALL, 2, 9)
    with torch.no_grad():
        at = torch.tensor([[8, 2], [0, 5]])
        assert torch.allclose(model(tokens, at=at)[1, 1], model(tokens)[1, 5], atol=1e-6)


def test_grouped_attention_is_attention_with_repeated_heads() -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 6, 3, 8, generator=generator)
    k, v = (torch.randn(2, 2, 5, 8, generator=generator) for _ in range(2))
    mask = torch.rand(2, 1, 3, 5, generator=generator) > 0.3
    mask[..., 0] = True
    wide = attend(q, k.repeat_interleave(3, 1), v.repeat_interleave(3, 1), mask=mask)
    assert torch.allclose(attend_grouped(q, k, v, mask=mask), wide, atol=1e-6)


def test_the_future_is_not_seen() -> None:
    model, tokens = random_llama(SMALL), tokens_of(SMALL, 1, 12)
    other = tokens.clone()
    other[0, 7] = (other[0, 7] + 1) % SMALL.vocabulary
    with torch.no_grad():
        a, b = model(tokens), model(other)
    assert torch.equal(a[:, :7], b[:, :7])
    assert not torch.allclose(a[:, 7:], b[:, 7:])


@pytest.mark.parametrize(
    "change", [{"hidden_act": "gelu"}, {"attention_bias": True}, {"rope_scaling": {"rope_type": "llama3"}}]
)
def test_other_variants_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(WeightsError, match="which LLaMA and Llama 2 do not have"):
        llama_config({**llama_json(SMALL), **change})
