from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig as PeerConfig
from transformers import LlamaForCausalLM

from bottega.errors import RequestError
from bottega.layers import Tokens, merge
from bottega.networks import (
    Llama,
    LlamaConfig,
    Vit,
    VitConfig,
    grouped_config,
    grouped_llama,
    llama_json,
    llama_keys,
    merged_counts,
    merged_vit,
    withdrawal_divergences,
    withdrawal_layer,
    withdrawn_states,
)
from bottega.weights import to_theirs

DECODER = LlamaConfig(vocabulary=31, context=32, width=32, depth=3, num_heads=4, num_kv_heads=4, hidden=40)
TOWER = VitConfig(size=16, patch_size=4, width=24, depth=4, num_heads=3)


def filled(model: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def llama() -> Llama:
    model = filled(Llama(DECODER))
    assert isinstance(model, Llama)
    return model


def vit() -> Vit:
    model = filled(Vit(TOWER))
    assert isinstance(model, Vit)
    return model


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -------------------------------------------------------------------------------------------------------------- groups
def test_as_many_groups_as_heads_change_nothing() -> None:
    model, tokens = llama(), torch.arange(12)[None]
    with torch.no_grad():
        assert torch.equal(grouped_llama(model, 4)(tokens), model(tokens))


@pytest.mark.parametrize("kv_heads", [2, 1])
def test_equal_heads_are_pooled_without_loss(kv_heads: int) -> None:
    model, tokens = llama(), torch.arange(12)[None]
    with torch.no_grad():
        for block in model.blocks:
            parts = block.attention.qkv.weight.unflatten(0, (12, 8))
            for kind in (parts[4:8], parts[8:]):
                kind.copy_(kind[:: 4 // kv_heads].repeat_interleave(4 // kv_heads, 0).clone())
        few = grouped_llama(model, kv_heads)
        torch.testing.assert_close(few(tokens), model(tokens), atol=1e-5, rtol=1e-5)
        assert few.new_memory(1, 8).bytes * (4 // kv_heads) == model.new_memory(1, 8).bytes


def test_pooled_heads_are_means_and_the_original_stays() -> None:
    model = llama()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    few = grouped_llama(model, 2)
    wide = model.state_dict()["blocks.1.attention.qkv.weight"].unflatten(0, (12, 8))
    narrow = few.state_dict()["blocks.1.attention.qkv.weight"].unflatten(0, (8, 8))
    torch.testing.assert_close(narrow[5], (wide[6] + wide[7]) / 2)
    torch.testing.assert_close(narrow[6], (wide[8] + wide[9]) / 2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kv_heads", [3, 0, 8])
def test_groups_must_divide_the_heads(kv_heads: int) -> None:
    with pytest.raises(RequestError, match="kv_heads"):
        grouped_config(DECODER, kv_heads)


# ------------------------------------------------------------------------------------------------------------- merging
def test_no_merging_is_the_transformer() -> None:
    model, pictures = vit(), random(2, 3, 16, 16)
    with torch.no_grad():
        tokens = merged_vit(model, pictures, 0)
        torch.testing.assert_close(tokens.values, model(pictures), atol=1e-6, rtol=1e-6)
    assert tokens.sizes.unique().tolist() == [1.0]
    assert tokens.owners[0].tolist() == list(range(17))


@pytest.mark.parametrize("count", [1, 3, 8])
def test_counts_of_merged_tokens(count: int) -> None:
    with torch.no_grad():
        tokens = merged_vit(vit(), random(2, 3, 16, 16), count)
    counts = merged_counts(17, count, 4)
    assert counts == {1: (17, 16, 15, 14, 13), 3: (17, 14, 11, 8, 5), 8: (17, 9, 5, 3, 2)}[count]
    assert tokens.values.shape == (2, counts[-1], 24)
    torch.testing.assert_close(tokens.sizes.sum(1), torch.full((2,), 17.0))
    for row in range(2):
        sizes = torch.bincount(tokens.owners[row], minlength=counts[-1])
        assert torch.equal(sizes.float(), tokens.sizes[row])
    assert tokens.sizes[:, 0].tolist() == [1.0, 1.0]  # the class token stands for itself


def test_the_most_similar_pair_becomes_its_weighted_mean() -> None:
    values = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [0.0, 1.0], [2.0, 0.1], [1.0, 0.05], [-1.0, 0.0]]])
    tokens = Tokens(values=values, sizes=torch.tensor([[1.0, 1.0, 1.0, 3.0, 2.0, 1.0]]), owners=torch.arange(6)[None])
    merged = merge(tokens, values, 1)
    assert merged.sizes.tolist() == [[1.0, 1.0, 1.0, 5.0, 1.0]]  # 4 went into 3, which are exactly parallel
    torch.testing.assert_close(merged.values[0, 3], (3 * values[0, 3] + 2 * values[0, 4]) / 5)
    assert merged.owners.tolist() == [[0, 2, 1, 3, 3, 4]]


def test_merged_copies_attend_as_all_of_them_did() -> None:
    model, pictures = vit(), torch.ones(1, 3, 16, 16)
    with torch.no_grad():
        model.pos_embed[1:] = 0.3  # all patches are alike: merging them loses nothing
        whole = model(pictures)
        tokens = merged_vit(model, pictures, 8)
    torch.testing.assert_close(tokens.values[:, 0], whole[:, 0], atol=1e-5, rtol=1e-4)


# ---------------------------------------------------------------------------------------------------------- withdrawal
def test_withdrawal_behind_the_last_layer_is_the_decoder() -> None:
    model, x, visual = llama(), random(2, 12, 32), slice(1, 8)
    with torch.no_grad():
        whole = model.states(x)[:, [0, 8, 9, 10, 11]]
        assert torch.equal(withdrawn_states(model, x, visual, 3), whole)
        assert not torch.allclose(withdrawn_states(model, x, visual, 2), whole, atol=1e-3)


def test_withdrawal_before_the_first_layer_leaves_nothing_of_the_picture() -> None:
    model, visual = llama(), slice(0, 6)
    one, other = random(1, 10, 32), random(1, 10, 32, seed=2)
    other[:, 6:] = one[:, 6:] = random(1, 4, 32, seed=3)
    with torch.no_grad():
        assert torch.equal(withdrawn_states(model, one, visual, 0), withdrawn_states(model, other, visual, 0))
        assert not torch.equal(withdrawn_states(model, one, visual, 1), withdrawn_states(model, other, visual, 1))


def test_words_keep_their_positions() -> None:
    model, x = llama(), random(1, 10, 32)
    with torch.no_grad():
        only = model.states(x[:, 6:])  # rotary scores see differences only
        torch.testing.assert_close(withdrawn_states(model, x, slice(0, 6), 0), only, atol=1e-4, rtol=1e-4)


def test_words_around_a_picture_keep_their_positions() -> None:
    model, x, words = llama(), random(2, 10, 32), torch.tensor([0, 1, 6, 7, 8, 9])
    peer = LlamaForCausalLM(PeerConfig(**llama_json(DECODER))).eval()
    peer.load_state_dict(to_theirs(llama_keys(DECODER), dict(model.state_dict())))
    with torch.no_grad():
        expected = peer.model(inputs_embeds=x[:, words], position_ids=words[None].expand(2, -1)).last_hidden_state
        torch.testing.assert_close(withdrawn_states(model, x, slice(2, 6), 0), expected, atol=1e-5, rtol=1e-4)


def test_the_layer_is_the_first_that_loses_little() -> None:
    full = random(5, 7)
    found = withdrawal_divergences(full, [random(5, 7, seed=2), full + 0.01 * random(5, 7, seed=3), full])
    assert found[0] > 0.1 > found[1] > found[2]
    assert found[2] == pytest.approx(0, abs=1e-6)
    assert withdrawal_layer(found, 0.003) == 1
    assert withdrawal_layer(found, 1e-5) == 2
    assert withdrawal_layer(found, -1.0) == 3


def test_merging_gives_the_authors_numbers() -> None:
    """The numbers were made with tome/merge.py of facebookresearch/ToMe at its main branch (torch 2.13, CPU).

    After drawing `values`, `keys` and `sizes` as below:

        made, _ = merge.bipartite_soft_matching(keys, 3, class_token=True, distill_token=False)
        out, sizes = merge.merge_wavg(made, values, sizes)
        print(out.flatten()[torch.linspace(0, out.numel() - 1, 8).long()].tolist(), out.norm().item(), sizes.tolist())
    """
    generator = torch.Generator().manual_seed(0)
    values, keys = torch.randn(2, 11, 6, generator=generator), torch.randn(2, 11, 4, generator=generator)
    sizes = torch.randint(1, 5, (2, 11, 1), generator=generator).float()[..., 0]
    out = merge(Tokens(values=values, sizes=sizes, owners=torch.arange(11).expand(2, 11)), keys, 3)
    flat = out.values.flatten()
    assert flat[torch.linspace(0, len(flat) - 1, 8).long()].tolist() == pytest.approx(
        [-1.1258398294448853, -1.2341350317001343, -1.5550950765609741, -1.4688938856124878, -0.07291475683450699,
         -0.54974365234375, 0.5198677182197571, -0.286276251077652], rel=1e-5,
    )  # fmt: skip
    assert flat.norm().item() == pytest.approx(10.20273208618164, rel=1e-5)
    assert out.sizes.tolist() == [[2, 2, 3, 4, 4, 8, 1, 4], [1, 2, 3, 3, 10, 4, 2, 7]]
