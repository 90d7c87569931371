"""Attention against a softmax written out, in every form that it takes."""

from __future__ import annotations

import math

import pytest
import torch

from bottega.layers import KeyValueCache, SelfAttention, attend, attention, merge_heads, split_heads


def oracle(q, k, v, mask=None, causal=False, scale=None):
    """Softmax attention in float64, one query at a time."""
    q, k, v = q.double(), k.double(), v.double()
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    out = torch.zeros(*q.shape[:-1], v.shape[-1], dtype=torch.float64)
    for i in range(q.shape[-2]):
        scores = (q[..., i : i + 1, :] * k).sum(-1) * scale
        if mask is not None:
            row = mask.expand(*q.shape[:-1], k.shape[-2])[..., i, :]
            scores = torch.where(row, scores, -math.inf) if row.dtype is torch.bool else scores + row
        if causal:
            scores[..., i + 1 :] = -math.inf
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        out[..., i, :] = (weights[..., None] * v).sum(-2)
    return out


def heads(queries=7, keys=7, dim=8, value_dim=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((2, 3, queries, dim), (2, 3, keys, dim), (2, 3, keys, value_dim))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def masks(queries=7, keys=7):
    generator = torch.Generator().manual_seed(9)
    seen = torch.rand(2, 1, queries, keys, generator=generator) > 0.4
    seen[..., 0] = True
    return {"boolean": seen, "shared": seen[0, 0], "bias": torch.randn(3, queries, keys, generator=generator)}


CASES = {
    "plain": {}, "causal": {"causal": True}, "scaled": {"scale": 0.7},
    "scaled and causal": {"scale": 0.2, "causal": True},
    **{name: {"mask": mask} for name, mask in masks().items()},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_attend_is_softmax_attention(case):
    q, k, v = heads()
    torch.testing.assert_close(
        attend(q, k, v, **CASES[case]).double(), oracle(q, k, v, **CASES[case]), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("case", CASES)
def test_blocks_of_rows_are_the_same_attention(case, rows, monkeypatch):
    q, k, v = (part.bfloat16() for part in heads())
    monkeypatch.setattr(attention, "ROW_BLOCK_BYTES", rows * 2 * 3 * 7 * 2)  # so many queries of this size at once
    case = {name: value.bfloat16() if name == "mask" and value.dtype is torch.float32 else value
            for name, value in CASES[case].items()}  # fmt: skip
    ours, exact = attend(q, k, v, **case), oracle(q, k, v, **case)
    assert ours.dtype is torch.bfloat16
    torch.testing.assert_close(ours.double(), exact, rtol=0.03, atol=0.03)


def test_blocks_of_rows_are_about_as_exact_as_the_fused_kernel():
    q, k, v = (part.bfloat16() for part in heads(queries=64, keys=64, dim=32, value_dim=32))
    exact = oracle(q, k, v)
    fused = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert (attend(q, k, v).double() - exact).abs().max() < 4 * (fused.double() - exact).abs().max()


def test_blocks_of_rows_have_the_same_gradients(monkeypatch):
    monkeypatch.setattr(attention, "ROW_BLOCK_BYTES", 3 * 2 * 3 * 7 * 2)
    parts = [part.bfloat16().requires_grad_() for part in heads()]
    exact = [part.detach().float().requires_grad_() for part in parts]
    attend(*parts).float().square().sum().backward()
    attend(*exact).square().sum().backward()
    for ours, theirs in zip(parts, exact, strict=True):
        torch.testing.assert_close(ours.grad.float(), theirs.grad, rtol=0.1, atol=0.1)


def test_queries_and_keys_may_differ_in_number():
    q, k, v = heads(queries=4, keys=9, value_dim=5)
    out = attend(q, k, v)
    assert out.shape == (2, 3, 4, 5)
    torch.testing.assert_close(out.double(), oracle(q, k, v), rtol=1e-5, atol=1e-6)


def test_heads_split_and_merge():
    x = torch.randn(2, 5, 12)
    assert split_heads(x, 3).shape == (2, 3, 5, 4)
    assert torch.equal(split_heads(x, 3)[1, 2, 4], x[1, 4, 8:])
    assert torch.equal(merge_heads(split_heads(x, 3)), x)


def test_self_attention_is_its_parts():
    layer, x = SelfAttention(12, 3), torch.randn(2, 5, 12)
    q, k, v = (x @ part.T + bias for part, bias in zip(layer.qkv.weight.chunk(3), layer.qkv.bias.chunk(3), strict=True))
    expected = merge_heads(oracle(*(split_heads(part, 3) for part in (q, k, v)))).float() @ layer.proj.weight.T
    torch.testing.assert_close(layer(x), expected + layer.proj.bias, rtol=1e-4, atol=1e-5)


def test_causal_attention_does_not_look_ahead():
    layer, x = SelfAttention(12, 3, causal=True), torch.randn(1, 6, 12)
    changed = x.clone()
    changed[:, 4:] += 1
    with torch.no_grad():
        before, after = layer(x), layer(changed)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().min() > 0


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="multiple of num_heads 5"):
        SelfAttention(12, 5)


# --------------------------------------------------------------------------------------------------------------- cache
def test_a_cache_gives_what_the_whole_gives():
    layer, x, cache = SelfAttention(12, 3, causal=True), torch.randn(2, 6, 12), KeyValueCache()
    with torch.no_grad():
        parts = [layer(x[:, :3], cache=cache), *(layer(x[:, i : i + 1], cache=cache) for i in range(3, 6))]
        torch.testing.assert_close(torch.cat(parts, dim=1), layer(x))


def test_a_filled_cache_takes_one_token():
    cache, token = KeyValueCache(), torch.zeros(1, 1, 2, 4)
    cache.extend(token, token)
    with pytest.raises(ValueError, match="one token at a time, not 2"):
        cache.extend(token, token)


def test_a_cache_follows_its_beams():
    cache = KeyValueCache()
    cache.reorder(torch.tensor([0]))  # nothing is there yet
    keys = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 2, 4)
    cache.extend(keys, -keys)
    cache.reorder(torch.tensor([2, 2, 0]))
    assert cache.keys[:, 0, 0, 0].tolist() == [2, 2, 0]
    assert cache.values[:, 0, 1, 3].tolist() == [-2, -2, 0]


def test_a_mask_and_causal_together_are_refused() -> None:
    q = torch.zeros(1, 1, 2, 4)
    with pytest.raises(ValueError, match="not both"):
        attend(q, q, q, mask=torch.ones(2, 2, dtype=torch.bool), causal=True)
