"""The weight-free features and the wrapper of any embedding."""

from __future__ import annotations

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped

from bottega.errors import RequestError
from bottega.metrics import EmbeddingFeatures, FeatureNetwork, PixelFeatures


def features_of(network: PixelFeatures, pictures: torch.Tensor) -> torch.Tensor:
    """(b, channels, grid, grid)"""
    checked = jaxtyped(typechecker=beartype)(PixelFeatures.features)
    return checked(network, pictures).unflatten(1, (-1, network.grid, network.grid))


def test_colours_are_means_over_cells():
    pictures = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    means = features_of(PixelFeatures(grid=2, directions=0), pictures)
    assert torch.equal(means[1, 2, 1, 0], pictures[1, 2, 2:, :2].mean())
    assert means.shape == (2, 3, 2, 2)


@pytest.mark.parametrize(("quarter_turns", "filled"), [(0, 0), (1, 3), (2, 2), (3, 1)])
def test_gradients_fall_into_the_bin_of_their_direction(quarter_turns, filled):
    """Brighter to the right is bin 0, downward 1, to the left 2, upward 3."""
    ramp = torch.linspace(-1, 1, 16).expand(1, 3, 16, 16).rot90(quarter_turns, (2, 3))
    histogram = features_of(PixelFeatures(grid=1, directions=4), ramp)[0, 3:, 0, 0]
    assert histogram.argmax().item() == filled
    assert histogram.sum().item() == pytest.approx(histogram[filled].item(), rel=1e-4)


def test_size_of_the_picture_does_not_change_the_width():
    network = PixelFeatures(grid=4, directions=6)
    assert network.features(torch.zeros(2, 3, 7, 31)).shape == (2, 4 * 4 * 9)
    assert network.name == "pixels-4x4-6"
    assert network.features(torch.rand(0, 3, 8, 8)).shape == (0, 144)


def test_an_embedding_keeps_its_name_and_order_over_batches():
    linear = torch.nn.Linear(12, 5)
    network = EmbeddingFeatures(name="probe", embed=lambda pictures: linear(pictures.flatten(1)), batch_size=3)
    pictures = torch.randn(8, 3, 2, 2)
    features = network.features(pictures)
    assert torch.allclose(features, linear(pictures.flatten(1)), atol=1e-6)
    assert not features.requires_grad
    assert isinstance(network, FeatureNetwork)
    assert isinstance(PixelFeatures(), FeatureNetwork)


@pytest.mark.parametrize("wrong", [{"grid": 0}, {"directions": -1}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(RequestError, match=next(iter(wrong))):
        PixelFeatures(**wrong)
