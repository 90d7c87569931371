"""Blocks, MLPs, convolutions, patches, positions and the execution of linear layers."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from bottega.layers import (
    Activation,
    Downsample,
    Mlp,
    PatchEmbed,
    PixelAttention,
    PostNormBlock,
    PreNormBlock,
    ResnetBlock,
    Upsample,
    activate,
    execution,
    linear_rates,
    prepare_for_inference,
    sinusoid,
    undo_preparation,
    unpatchify,
)
from bottega.layers.execution import LinearRates, PackedLinear, pack

needs_onednn = pytest.mark.skipif(pack(torch.eye(4)) is None, reason="torch was built without oneDNN")


def without_gradient(module, loss):
    loss.backward()
    return [name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


# -------------------------------------------------------------------------------------------------------- transformers
@pytest.mark.parametrize("block", [PreNormBlock(16, 4), PostNormBlock(16, 4, qkv_bias=True)], ids=["pre", "post"])
def test_gradients_reach_every_parameter_of_a_block(block):
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    out = block(x)
    assert out.shape == x.shape
    assert (
        without_gradient(block, (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(1))).sum()) == []
    )


def test_pre_norm_keeps_the_stream_and_post_norm_normalises_it():
    x = 100 * torch.randn(2, 5, 16)
    pre, post = PreNormBlock(16, 4), PostNormBlock(16, 4)
    with torch.no_grad():
        assert (pre(x) - x).abs().max() < 10
        torch.testing.assert_close(post(x).std(-1, correction=0), torch.ones(2, 5), rtol=1e-3, atol=0)
        for part in (pre.attention.proj, pre.mlp.fc2):
            part.weight.zero_()
            part.bias.zero_()
        assert torch.equal(pre(x), x)


FORMULAS = {
    Activation.GELU: lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    Activation.GELU_TANH: lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    Activation.QUICK_GELU: lambda x: x / (1 + math.exp(-1.702 * x)),
    Activation.SILU: lambda x: x / (1 + math.exp(-x)),
}


@pytest.mark.parametrize("activation", Activation)
def test_activations_are_their_formulas(activation):
    points = torch.linspace(-4, 4, 33, dtype=torch.float64)
    expected = torch.tensor([FORMULAS[activation](float(x)) for x in points], dtype=torch.float64)
    torch.testing.assert_close(activate(points, activation), expected, rtol=1e-9, atol=1e-12)


def test_activations_differ():
    x = torch.linspace(-3, 3, 50, dtype=torch.float64)
    made = [activate(x, activation) for activation in Activation]
    assert all((a - b).abs().max() > 1e-5 for i, a in enumerate(made) for b in made[:i])


def test_an_mlp_is_two_layers():
    mlp, x = Mlp(6, 10, Activation.SILU), torch.randn(3, 6)
    hidden = x @ mlp.fc1.weight.T + mlp.fc1.bias
    torch.testing.assert_close(mlp(x), (hidden * hidden.sigmoid()) @ mlp.fc2.weight.T + mlp.fc2.bias)


# ---------------------------------------------------------------------------------------------------------- positions
def test_sinusoid_is_cosines_then_sines():
    t = torch.tensor([0.0, 1.0, 2.5, 999.0])
    made = sinusoid(t, 6)
    for column, frequency in enumerate((1.0, 10_000 ** (-1 / 3), 10_000 ** (-2 / 3))):
        torch.testing.assert_close(made[:, column], (t * frequency).cos(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(made[:, 3 + column], (t * frequency).sin(), rtol=1e-4, atol=1e-4)
    assert made.dtype is torch.float32
    assert sinusoid(t.bfloat16(), 6).dtype is torch.float32
    with pytest.raises(ValueError, match="even width, not 5"):
        sinusoid(t, 5)


# ------------------------------------------------------------------------------------------------------------- patches
def test_patches_are_read_row_by_row():
    embed, picture = PatchEmbed(3, 12, 2, bias=False), torch.randn(2, 3, 4, 6)
    with torch.no_grad():
        embed.proj.weight.copy_(torch.eye(12).view(12, 3, 2, 2))
        tokens = embed(picture)
    assert tokens.shape == (2, 6, 12)
    assert torch.equal(tokens[1, 4].view(3, 2, 2), picture[1, :, 2:4, 2:4])


def test_unpatchify_undoes_patches():
    embed, picture = PatchEmbed(3, 12, 2, bias=False), torch.randn(2, 3, 4, 6)
    with torch.no_grad():
        embed.proj.weight.copy_(torch.eye(12).view(12, 3, 2, 2))
        tokens = embed(picture).unflatten(-1, (3, 4)).transpose(-1, -2).flatten(-2)  # channels fastest
    assert torch.equal(unpatchify(tokens, 2, 2), picture)


@pytest.mark.parametrize("shape", [(5, 4), (4, 7)])
def test_patches_must_fit(shape):
    with pytest.raises(ValueError, match=f"{shape[0]}x{shape[1]} picture"):
        PatchEmbed(1, 4, 2)(torch.zeros(1, 1, *shape))


# -------------------------------------------------------------------------------------------------------- convolutions
@pytest.mark.parametrize(("block", "shape"), [
    (ResnetBlock(8, 8, groups=4), (2, 8, 6, 4)), (ResnetBlock(8, 16, groups=4), (2, 16, 6, 4)),
    (PixelAttention(8, groups=4), (2, 8, 6, 4)), (Downsample(8), (2, 8, 3, 2)), (Upsample(8), (2, 8, 12, 8)),
])  # fmt: skip
def test_convolutional_blocks_have_their_shapes_and_gradients(block, shape):
    x = torch.randn(2, 8, 6, 4, generator=torch.Generator().manual_seed(0))
    out = block(x)
    assert out.shape == shape
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    # a bias of keys moves all scores alike: softmax gives it no gradient
    missing = [name for name in without_gradient(block, (out * weight).sum()) if name != "qkv.bias"]
    assert missing == []


def test_a_resnet_block_with_silent_branch_is_its_shortcut():
    same, wider, x = ResnetBlock(8, 8, groups=4), ResnetBlock(8, 16, groups=4), torch.randn(1, 8, 5, 5)
    for block in (same, wider):
        nn.init.zeros_(block.conv2.weight)
        nn.init.zeros_(block.conv2.bias)
    assert torch.equal(same(x), x)
    torch.testing.assert_close(wider(x), wider.shortcut(x))


def test_downsample_pads_right_and_below_only():
    down = Downsample(1)
    with torch.no_grad():
        down.conv.weight.zero_()
        down.conv.bias.zero_()
        down.conv.weight[0, 0, 0, 0] = 1  # reads the corner of each window
        x = torch.arange(16.0).view(1, 1, 4, 4)
        assert torch.equal(down(x), x[..., ::2, ::2])


def test_upsample_repeats_pixels():
    up = Upsample(1)
    with torch.no_grad():
        up.conv.weight.zero_()
        up.conv.bias.zero_()
        up.conv.weight[0, 0, 1, 1] = 1
        assert torch.equal(up(torch.tensor([[[[1.0, 2.0]]]])), torch.tensor([[[[1.0, 1, 2, 2], [1, 1, 2, 2]]]]))


def test_pixel_attention_sees_every_pixel():
    layer, x = PixelAttention(8, groups=4), torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    layer(x)[0, 0, 0, 0].backward()
    assert (x.grad.abs().sum(1) > 0).all()


# ----------------------------------------------------------------------------------------------------------- execution
def network():
    torch.manual_seed(0)
    return nn.Sequential(Mlp(48, 96), nn.LayerNorm(48), nn.Linear(48, 20, bias=False))


@needs_onednn
@pytest.mark.parametrize("shape", [(1, 48), (7, 48), (2, 33, 48), (2, 3, 5, 48)])
def test_packed_layers_agree_to_rounding(shape):
    model, x = network(), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    names = list(model.state_dict())
    with torch.inference_mode():
        plain = model(x)
        assert prepare_for_inference(model, packed=True) == 3
        fast = model(x)
    assert model[2].packed is not None
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)
    assert list(model.state_dict()) == names
    assert undo_preparation(model) == 3
    assert type(model[2]) is nn.Linear
    with torch.inference_mode():
        assert torch.equal(model(x), plain)


@needs_onednn
def test_packed_layers_follow_their_weights():
    model, x = network(), torch.randn(4, 48)
    prepare_for_inference(model, packed=True)
    for change in (lambda p: p.mul_(2), lambda p: p.set_(torch.randn_like(p))):
        with torch.no_grad():
            model(x)
            change(model[2].weight)
            fast = model(x)
        expected = copy.deepcopy(model)
        undo_preparation(expected)
        torch.testing.assert_close(fast, expected(x).detach(), rtol=1e-5, atol=1e-5)
    model.load_state_dict(network().state_dict())
    with torch.no_grad():
        torch.testing.assert_close(model(x), network()(x), rtol=1e-5, atol=1e-5)


@needs_onednn
def test_packed_layers_still_train_and_change_type():
    model, twin, x = network(), network(), torch.randn(4, 48)
    prepare_for_inference(model, packed=True)
    model(x).square().sum().backward()
    twin(x).square().sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    with torch.no_grad():
        assert torch.equal(model.bfloat16()(x.bfloat16()), twin.bfloat16()(x.bfloat16()))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert model.float()(x).dtype is torch.bfloat16
    assert isinstance(copy.deepcopy(model)[2], PackedLinear)


def test_the_faster_way_is_taken(monkeypatch):
    for packed, layers in ((130.0, 3), (110.0, 0), (0.0, 0)):
        rates = LinearRates(plain=100.0, packed=packed, bf16=1.0, row=100.0, packed_row=220.0 - packed)
        monkeypatch.setattr(execution, "linear_rates", lambda rates=rates: rates)
        assert prepare_for_inference(network()) == layers
        assert prepare_for_inference(network().bfloat16()) == (3 if packed < 100 else 0)
    assert prepare_for_inference(network().half(), packed=True) == 0
    assert prepare_for_inference(network(), packed=False) == 0


def test_rates_are_measured_once():
    rates = linear_rates()
    assert rates.plain > 0
    assert rates.bf16 > 0
    assert linear_rates() is rates


def test_without_onednn_everything_stays_plain(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    model, x = network(), torch.randn(4, 48)
    prepare_for_inference(model, packed=True)
    with torch.no_grad():
        assert torch.equal(model(x), network()(x))
