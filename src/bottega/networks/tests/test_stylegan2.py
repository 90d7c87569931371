"""StyleGAN2's networks: sizes and invariants; the numbers of the official ones are checked in the room of DragGAN."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from bottega.networks import Noise, StyleGan2Config, StyleGan2Discriminator, StyleGan2Generator
from bottega.networks.stylegan2_discriminator import spread_of
from bottega.ops import double_side, halve_side, low_pass

SMALL = StyleGan2Config(
    resolution=32, latent_dim=12, style_dim=16, mapping_layers=2, channel_base=256, channel_max=24, labels=2
)


@pytest.fixture
def generator() -> StyleGan2Generator:
    network = StyleGan2Generator(SMALL).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return network


@pytest.mark.parametrize(
    ("resolution", "base", "made", "seen"), [(256, 16384, 24_767_458, 24_001_089), (512, 32768, 30_276_583, 28_982_849)]
)
def test_published_sizes_have_their_parameters(resolution, base, made, seen):
    config = StyleGan2Config(resolution=resolution, channel_base=base)
    with torch.device("meta"):
        networks = StyleGan2Generator(config), StyleGan2Discriminator(config)
    assert tuple(sum(p.numel() for p in network.parameters()) for network in networks) == (made, seen)


def test_every_picture_of_a_batch_is_its_own(generator):
    styles = torch.randn(3, SMALL.styles, 16)
    together = generator.synthesis(styles)
    torch.testing.assert_close(torch.cat([generator.synthesis(one[None]) for one in styles]), together)
    assert together.shape == (3, 3, 32, 32)


def test_a_picture_in_two_parts_is_the_whole_picture(generator):
    styles = torch.randn(2, 16)
    features, coarse = generator.synthesis.run(styles, until=16)
    assert features.shape == (2, 16, 16, 16)
    assert torch.equal(generator.synthesis.run(styles, after=(features, coarse))[1], generator.synthesis(styles))


def test_w_is_w_plus_with_equal_styles(generator):
    style = torch.randn(1, 16)
    assert torch.equal(generator.synthesis(style), generator.synthesis(style[:, None].expand(-1, SMALL.styles, -1)))


def test_demodulation_undoes_the_size_of_a_style(generator):
    layer = generator.synthesis.blocks[2].conv
    x, style = torch.randn(1, 16, 16, 16), torch.randn(1, 16)
    with torch.no_grad():
        layer.affine.bias.zero_()
        once, twice = layer(x.clone(), style, Noise.NONE), layer(x.clone(), 3 * style, Noise.NONE)
    torch.testing.assert_close(once, twice, atol=2e-4, rtol=2e-4)


def test_every_parameter_has_a_gradient():
    networks = torch.nn.ModuleList([StyleGan2Generator(SMALL), StyleGan2Discriminator(SMALL)])
    labels = torch.tensor([0, 1, 1, 0])
    networks[1](networks[0](torch.randn(4, 12), labels, noise=Noise.RANDOM), labels).square().sum().backward()
    assert not [name for name, p in networks.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_kernels_that_are_kept_follow_the_weights(generator):
    styles = torch.randn(1, 16)
    with torch.no_grad():
        before = generator.synthesis(styles)
        for parameter in generator.synthesis.parameters():
            parameter.mul_(1.1)
        after = generator.synthesis(styles)
        assert not torch.equal(before, after)
        assert torch.equal(copy.deepcopy(generator).synthesis(styles), after)
    generator.train()
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.1, fused=True)  # leaves no trace of its changes
    for parameter in generator.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    generator.eval()
    with torch.no_grad():
        assert not torch.equal(generator.synthesis(styles), after)
        plain = copy.deepcopy(generator).train().synthesis(styles)
        torch.testing.assert_close(generator.synthesis(styles), plain, atol=1e-3, rtol=1e-4)


def test_a_style_changes_its_own_layers_and_those_after(generator):
    styles = torch.randn(1, SMALL.styles, 16)
    other = styles.clone()
    other[:, 4] += 1
    assert torch.equal(generator.synthesis.run(styles, until=8)[0], generator.synthesis.run(other, until=8)[0])
    assert not torch.equal(generator.synthesis.run(styles, until=16)[0], generator.synthesis.run(other, until=16)[0])


def test_truncation_goes_to_the_mean(generator):
    latents, labels = torch.randn(2, 12), torch.tensor([0, 1])
    generator.mapping.mean_style.normal_()
    mean = generator.synthesis(generator.mapping.mean_style[None])
    torch.testing.assert_close(generator(latents, labels, psi=0.0), mean.expand(2, -1, -1, -1))


def test_the_spread_of_equal_pictures_is_none():
    same, different = torch.ones(4, 5, 4, 4), torch.randn(4, 5, 4, 4)
    assert spread_of(same, 4).max() < 2e-4
    expected = different.std(0, correction=0).mean()
    torch.testing.assert_close(spread_of(different, 4), expected.expand(4, 1, 4, 4), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="cannot be cut into groups"):
        spread_of(torch.ones(6, 5, 4, 4), 4)


def test_filters_keep_flat_pictures_and_are_each_others_transpose():
    flat = torch.ones(1, 2, 8, 8)
    torch.testing.assert_close(double_side(flat)[..., 2:-2, 2:-2], torch.ones(1, 2, 12, 12))
    torch.testing.assert_close(halve_side(flat)[..., 1:-1, 1:-1], torch.ones(1, 2, 2, 2))
    small, large = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 8, 8)
    torch.testing.assert_close((double_side(small) * large).sum(), 4 * (small * halve_side(large)).sum())
    assert low_pass(large, (2, 1, 2, 1)).shape == large.shape


@pytest.mark.parametrize(
    "change", [{"resolution": 48}, {"resolution": 4}, {"labels": -1}, {"channel_base": 16}, {"style_dim": 0}]
)
def test_sizes_that_cannot_be_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(SMALL, **change)
