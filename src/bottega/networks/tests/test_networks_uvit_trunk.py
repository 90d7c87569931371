"""The trunk of U-ViT, and GPT-2 with and without its cache."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from bottega.networks import BlockNorm, Gpt2, Gpt2Config, UVitTrunk, UVitTrunkConfig, initialise_vit

SMALL = UVitTrunkConfig(width=16, depth=6, num_heads=4, norm=BlockNorm.PRE)
BOTH = pytest.mark.parametrize("norm", BlockNorm)


def trunk(**changes):
    torch.manual_seed(0)
    return UVitTrunk(replace(SMALL, **changes))


def tokens(seed=1):
    return torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(seed))


@BOTH
def test_gradients_reach_every_parameter(norm):
    model = trunk(norm=norm)
    out = model(tokens())
    assert out.shape == (2, 5, 16)
    (out * tokens(2)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@BOTH
def test_skips_nest(norm):
    """The first deep block meets the last shallow one."""
    model, x = trunk(norm=norm), tokens()
    with torch.no_grad():
        shallow, state = [], x
        for block in model.in_blocks:
            state = block(state)
            shallow.append(state)
        state = model.mid_block(state)
        for i, block in enumerate(model.out_blocks):
            skip = model.skips[i]
            state = block(skip.norm(skip.linear(torch.cat((state, shallow[2 - i]), dim=-1))))
        assert torch.equal(model(x), model.norm(state))


def test_only_the_post_norm_variant_normalises_after_a_skip():
    assert isinstance(trunk(norm=BlockNorm.PRE).skips[0].norm, nn.Identity)
    assert isinstance(trunk(norm=BlockNorm.POST).skips[0].norm, nn.LayerNorm)


def test_without_skips_no_block_sees_a_shallow_one():
    model, x = trunk(long_skips=False), tokens()
    assert len(model.skips) == 0
    with torch.no_grad():
        state = x
        for block in (*model.in_blocks, model.mid_block, *model.out_blocks):
            state = block(state)
        assert torch.equal(model(x), model.norm(state))


@BOTH
def test_tokens_have_no_order(norm):
    model, order = trunk(norm=norm), torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        torch.testing.assert_close(model(tokens()[:, order]), model(tokens())[:, order])


@pytest.mark.parametrize(("changes", "words"), [({"depth": 5}, "depth is 5"), ({"depth": 0}, "depth is 0"),
                                                ({"num_heads": 3}, "num_heads 3")])  # fmt: skip
def test_sizes_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(SMALL, **changes)


def test_initialisation_is_the_published_one():
    model = nn.Sequential(nn.Linear(400, 400), nn.LayerNorm(400))
    initialise_vit(model)
    assert model[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not model[0].bias.any()
    assert torch.equal(model[1].weight, torch.ones(400))


# ---------------------------------------------------------------------------------------------------------------- GPT-2
@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    model = Gpt2(Gpt2Config(vocabulary=30, context=16, width=24, depth=3, num_heads=4)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


@torch.no_grad()
@pytest.mark.parametrize("prefix", [1, 4, 9])
def test_step_by_step_equals_all_at_once(decoder, prefix):
    ids = torch.randint(30, (3, 10), generator=torch.Generator().manual_seed(1))
    embedded, cache = decoder.token_embed(ids), decoder.new_cache()
    whole = decoder(embedded)
    parts = [decoder(embedded[:, :prefix], cache)]
    parts += [decoder(embedded[:, i : i + 1], cache) for i in range(prefix, 10)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_no_token_sees_the_next(decoder):
    embedded = torch.randn(1, 8, 24)
    changed = embedded.clone()
    changed[:, 5:] += 1
    torch.testing.assert_close(decoder(embedded)[:, :5], decoder(changed)[:, :5])


@torch.no_grad()
def test_beams_that_change_places_take_their_past_along(decoder):
    embedded, cache = torch.randn(2, 5, 24), decoder.new_cache()
    decoder(embedded[:, :4], cache)
    for part in cache:
        part.reorder(torch.tensor([1, 0]))
    swapped = torch.cat((embedded.flip(0)[:, :4], embedded[:, 4:]), dim=1)
    torch.testing.assert_close(decoder(embedded[:, 4:], cache), decoder(swapped)[:, 4:], rtol=1e-4, atol=1e-5)
