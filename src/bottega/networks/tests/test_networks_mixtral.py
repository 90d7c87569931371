from __future__ import annotations

import dataclasses

import pytest
import torch
from transformers import MixtralConfig as PeerConfig
from transformers import MixtralForCausalLM

from bottega.errors import RequestError, WeightsError
from bottega.networks import (
    ChosenDepths,
    ChosenTokens,
    Dense,
    Experts,
    Llama,
    LlamaConfig,
    MixtralConfig,
    Routing,
    is_causal,
    mixtral,
    mixtral_config,
    mixtral_json,
    mixtral_keys,
    work_per_token,
)
from bottega.weights import to_ours, to_theirs

DECODER = LlamaConfig(
    vocabulary=61, context=64, width=32, depth=2, num_heads=4, num_kv_heads=2, hidden=24, rope_base=5e3
)
SMALL = MixtralConfig(decoder=DECODER, routing=Experts(experts=4, choices=2))


def filled(routing: Routing) -> Llama:
    torch.manual_seed(0)
    model = mixtral(dataclasses.replace(SMALL, routing=routing)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def tokens_of(count: int, rows: int = 1) -> torch.Tensor:
    return torch.randint(0, DECODER.vocabulary, (rows, count), generator=torch.Generator().manual_seed(1))


def test_the_decoder_equals_its_peer_through_its_published_files(tmp_path) -> None:
    from safetensors.torch import load_file

    model = filled(SMALL.routing)
    theirs = to_theirs(mixtral_keys(SMALL), dict(model.state_dict()))
    peer = MixtralForCausalLM(PeerConfig(**mixtral_json(SMALL))).eval()
    peer.save_pretrained(tmp_path)
    published = load_file(tmp_path / "model.safetensors")
    assert {key: value.shape for key, value in published.items()} == {key: v.shape for key, v in theirs.items()}
    from safetensors.torch import save_file

    save_file(
        {key: value.contiguous() for key, value in theirs.items()}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    peer = MixtralForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        expected, got = peer(tokens_of(30, 2)).logits, model(tokens_of(30, 2))
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()
    assert mixtral_config(peer.config.to_dict()) == SMALL
    again = to_ours(mixtral_keys(SMALL), theirs)
    assert all(torch.equal(again[key], value) for key, value in model.state_dict().items())


def test_null_experts_go_through_the_layout_too() -> None:
    config = dataclasses.replace(SMALL, routing=Experts(experts=4, choices=3, nulls=2))
    model = filled(config.routing)
    theirs = to_theirs(mixtral_keys(config), dict(model.state_dict()))
    assert theirs["model.layers.1.block_sparse_moe.gate2.weight"].shape == (2, 32)
    assert all(
        torch.equal(value, model.state_dict()[key]) for key, value in to_ours(mixtral_keys(config), theirs).items()
    )
    assert mixtral_config(mixtral_json(config)) == config


def test_a_dense_one_is_a_llama() -> None:
    config = dataclasses.replace(SMALL, routing=Dense())
    assert mixtral_config(mixtral_json(config)) == config
    assert mixtral(config).state_dict().keys() == Llama(DECODER).state_dict().keys()


@pytest.mark.parametrize("routing", [ChosenTokens(experts=4), ChosenDepths()])
def test_routings_that_look_ahead_have_no_published_layout(routing: Routing) -> None:
    with pytest.raises(WeightsError, match="save it in bottega's layout"):
        mixtral_keys(dataclasses.replace(SMALL, routing=routing))
    with pytest.raises(WeightsError, match="save it in bottega's layout"):
        mixtral_json(dataclasses.replace(SMALL, routing=routing))


@pytest.mark.parametrize(
    ("routing", "fits"),
    [
        (Dense(), True),
        (Experts(experts=4, choices=2), True),
        (Experts(experts=4, choices=3, nulls=3), True),
        (ChosenTokens(experts=4, capacity=1.0), False),
        (ChosenDepths(capacity=0.3), False),
    ],
)
def test_tokens_that_choose_are_causal_and_the_others_are_not(routing: Routing, fits: bool) -> None:
    assert is_causal(filled(routing), tokens_of(12)[0], 8) is fits


def test_null_experts_write_with_a_memory() -> None:
    model = filled(Experts(experts=4, choices=3, nulls=3))
    tokens = tokens_of(14, 2)
    with torch.no_grad():
        memory = model.new_memory(2, 14)
        parts = [model(tokens[:, a:b], memory) for a, b in ((0, 9), (9, 10), (10, 14))]
        torch.testing.assert_close(torch.cat(parts, 1), model(tokens), atol=2e-5, rtol=1e-4)


def test_depths_refuse_to_write() -> None:
    model = filled(ChosenDepths())
    with pytest.raises(RequestError, match="cannot write"):
        model(tokens_of(3), model.new_memory(1, 4))


def test_depths_of_full_capacity_see_everything_in_place() -> None:
    model = filled(ChosenDepths(capacity=1.0))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "router" in name:
                parameter.zero_()
        skipped = Llama(dataclasses.replace(DECODER, depth=1)).eval()
        skipped.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("blocks.1")})
        torch.testing.assert_close(model(tokens_of(9)), skipped(tokens_of(9)))


def test_depths_keep_the_positions_of_the_tokens_they_choose() -> None:
    model = filled(ChosenDepths(capacity=0.4))
    layer, x = model.blocks[1], torch.randn(1, 10, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        scores = layer.depths.router(x)[0, :, 0]
        places = scores.topk(4).indices.sort().values
        update = layer.block(x[:, places], model.rotary.turns(places), 1) - x[:, places]
        expected = x.clone()
        expected[:, places] += scores[places, None] * update
        got = layer(x, model.rotary.turns(torch.arange(10)), 1)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


def test_work_is_what_the_weights_of_a_token_multiply() -> None:
    model = filled(Dense())
    weights = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name)
    assert work_per_token(dataclasses.replace(SMALL, routing=Dense())) == weights
    two = work_per_token(SMALL)
    assert two - work_per_token(SMALL, real=1.0) == DECODER.depth * 3 * 32 * 24
    assert work_per_token(dataclasses.replace(SMALL, routing=Experts(experts=4, choices=2, nulls=1))) - two == 2 * 32
    assert work_per_token(dataclasses.replace(SMALL, routing=ChosenTokens(experts=4, capacity=2.0))) == two
    half = work_per_token(dataclasses.replace(SMALL, routing=ChosenDepths(capacity=0.5)))
    assert half < work_per_token(dataclasses.replace(SMALL, routing=Dense()))


@pytest.mark.parametrize(
    ("field", "wrong"),
    [({"experts": 0}, "experts"), ({"nulls": -1}, "nulls"), ({"choices": 20}, "choices"), ({"choices": 0}, "choices")],
)
def test_impossible_sizes_are_refused(field: dict[str, int], wrong: str) -> None:
    with pytest.raises(RequestError, match=wrong):
        Experts(**field)


def test_a_sliding_window_is_refused() -> None:
    with pytest.raises(WeightsError, match="sliding_window 4096"):
        mixtral_config({**mixtral_json(SMALL), "sliding_window": 4096})


def test_mixtral_8x7b_has_its_published_size() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in mixtral(MixtralConfig()).parameters()) == 46_702_792_704
