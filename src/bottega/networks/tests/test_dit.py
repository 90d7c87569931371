"""DiT against diffusers' network, every parameter randomised, and its published sizes."""

from __future__ import annotations

import pytest
import torch
from diffusers import DiTTransformer2DModel

from bottega.errors import WeightsError
from bottega.layers import prepare_for_inference
from bottega.networks import (
    DIT_DIFFUSERS_SIZES,
    DIT_SIZES,
    Dit,
    DitConfig,
    dit_config,
    dit_diffusers_keys,
    dit_json,
    dit_keys,
    position_waves,
)
from bottega.weights import to_ours, to_theirs

SMALL = DitConfig(size=8, width=48, depth=3, num_heads=4, classes=7, last_frequency=127, mlp_eps=1e-5)
PUBLISHED = {  # with the fixed positions, which the authors' scripts count
    "s-2": 32_963_360, "s-4": 32_945_024, "s-8": 33_148_160, "b-2": 130_512_416, "b-4": 130_475_648,
    "b-8": 130_881_536, "l-2": 458_102_816, "l-4": 458_053_760, "l-8": 458_594_816, "xl-2": 675_129_632,
    "xl-4": 675_074_432, "xl-8": 675_683_072,
}  # fmt: skip


def randomised(config):
    generator, network = torch.Generator().manual_seed(0), Dit(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network


def asked(config, batch=3):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, config.channels, config.size, config.size, generator=generator)
    return x, torch.tensor([0.0, 371.0, 999.0])[:batch], torch.tensor([2, 7, 0])[:batch]


def peer_of(network):
    peer = DiTTransformer2DModel.from_config(dit_json(network.config)).eval()
    peer.load_state_dict(to_theirs(dit_diffusers_keys(network.config), network.state_dict()))
    return peer


@pytest.mark.parametrize("changes", [{}, {"patch_size": 4, "learn_sigma": False, "channels": 3}])
@torch.no_grad()
def test_equal_to_diffusers_in_both_directions(changes):
    config = DitConfig(**{name: getattr(SMALL, name) for name in SMALL.__slots__} | changes)
    network = randomised(config)
    peer, given = peer_of(network), asked(config)
    theirs = peer(given[0], timestep=given[1], class_labels=given[2]).sample
    torch.testing.assert_close(network(*given), theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))
    assert dit_config(peer.config) == config
    back = to_ours(dit_diffusers_keys(config), peer.state_dict())
    assert back.keys() == network.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in network.state_dict().items())


@torch.no_grad()
def test_the_two_publications_differ_and_the_configuration_says_in_what():
    network = randomised(SMALL)
    authors = Dit(DitConfig(size=8, width=48, depth=3, num_heads=4, classes=7)).eval()
    authors.load_state_dict(network.state_dict())
    x, time, label = asked(SMALL)
    gap = (network(x, time, label) - authors(x, time, label)).abs().amax((1, 2, 3))
    assert gap[1] > 1e-2 < gap[2]  # late times are told in other frequencies


@torch.no_grad()
def test_packed_weights_give_the_same():
    network, given = randomised(SMALL), asked(SMALL)
    plain = network(*given)
    assert prepare_for_inference(network, packed=True)
    torch.testing.assert_close(network(*given), plain, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_sizes(name):
    with torch.device("meta"):
        count = sum(p.numel() for p in Dit(DIT_SIZES[name]).parameters())
    config = DIT_SIZES[name]
    assert count + config.patches * config.width == PUBLISHED[name]
    assert DIT_DIFFUSERS_SIZES[name].last_frequency == 127


def test_authors_names_and_positions():
    network = randomised(SMALL)
    theirs = to_theirs(dit_keys(SMALL), network.state_dict())
    assert theirs["pos_embed"].shape == (1, 16, 48)
    assert {"x_embedder.proj.weight", "t_embedder.mlp.2.bias", "y_embedder.embedding_table.weight",
            "blocks.2.adaLN_modulation.1.weight", "final_layer.linear.bias"} < theirs.keys()  # fmt: skip
    back = to_ours(dit_keys(SMALL), theirs)
    assert all(torch.equal(back[name], value) for name, value in network.state_dict().items())


def test_positions_go_by_column_first_and_then_by_row():
    waves = position_waves(3, 8).reshape(3, 3, 8)
    assert torch.equal(waves[0, 2, :4], waves[2, 2, :4])
    assert torch.equal(waves[2, 0, 4:], waves[2, 1, 4:])
    torch.testing.assert_close(waves[1, 2, :4], torch.tensor([2.0, 0.02]).sin().repeat(2).where(
        torch.tensor([True, True, False, False]), torch.tensor([2.0, 0.02]).cos().repeat(2)))  # fmt: skip


def test_a_fresh_network_is_silent_and_every_parameter_learns():
    torch.manual_seed(0)
    network, given = Dit(SMALL), asked(SMALL)
    assert not network(*given).any()  # adaLN-Zero
    network = randomised(SMALL).train()
    network(*given).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_strange_configurations_are_refused():
    described = dit_json(SMALL)
    with pytest.raises(WeightsError, match="activation_fn"):
        dit_config(described | {"activation_fn": "geglu"})
    with pytest.raises(ValueError, match="patch_size"):
        DitConfig(size=7)
    with pytest.raises(WeightsError, match="null class"):
        dit_json(DitConfig(null_class=False))
