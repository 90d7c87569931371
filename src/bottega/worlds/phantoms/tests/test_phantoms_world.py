"""Phantoms are functions of seed and index, lie inside the circle, and have the line integrals that they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bottega.errors import RequestError
from bottega.processes.diffusion import Radon
from bottega.worlds import PhantomsWorld, open_world
from bottega.worlds.phantoms.world import Ellipse, rendered


def test_samples_depend_on_seed_and_index_alone():
    world = PhantomsWorld(size=32)
    first = world.sample(7).density
    world.sample(3)
    assert np.array_equal(first, PhantomsWorld(size=32).sample(7).density)
    assert not np.array_equal(first, world.sample(8).density)
    assert not np.array_equal(first, PhantomsWorld(size=32, seed=1).sample(7).density)
    assert not np.array_equal(first, PhantomsWorld(size=32, split="heldout").sample(7).density)
    assert world.sample(7).ellipses == PhantomsWorld(size=64).sample(7).ellipses


@pytest.mark.parametrize("size", [32, 33])
def test_densities_are_in_range_and_inside_the_circle(size):
    rows, columns = np.mgrid[:size, :size] - size // 2
    outside = rows**2 + columns**2 > (size // 2) ** 2
    for phantom in PhantomsWorld(size=size).batch(range(30)):
        assert phantom.density.dtype == np.float32
        assert phantom.density.min() >= 0
        assert 0.75 < phantom.density.max() <= 1
        assert not phantom.density[outside].any()
        assert phantom.picture.shape == (size, size, 3)
        assert phantom.caption.startswith("a phantom of a head with ")


def test_an_ellipse_has_its_area():
    ellipse = Ellipse(density=1.0, x=0.1, y=-0.2, across=0.5, along=0.25, turn=0.6)
    assert rendered([ellipse], 128).sum() / 64**2 == pytest.approx(np.pi * 0.5 * 0.25, rel=0.01)


def test_line_integrals_are_those_of_the_pixels():
    """Of pixels fine enough: the two differ by how an edge is cut into pixels."""
    angles = (0.0, 20.0, 45.0, 90.0, 130.0)
    for phantom in PhantomsWorld(size=256).batch(range(3)):
        exact = phantom.line_integrals(angles)
        pixels = Radon(256, angles).forward(torch.from_numpy(phantom.density)[None, None])[0, 0].numpy()
        assert np.abs(exact - pixels).mean() < 0.02 * exact.max()
        assert np.allclose(exact.sum(1), exact.sum(1)[0], rtol=0.01), "a projection keeps the mass"
    turned = Radon(256, (20.0,)).forward(torch.from_numpy(phantom.density.T.copy())[None, None])[0, 0].numpy()
    assert np.abs(exact[1] - turned).mean() > 0.02 * exact.max(), "the comparison would not see a wrong direction"


def test_it_is_a_world_by_name():
    assert open_world("phantoms").sample(0).density.shape == (64, 64)
    with pytest.raises(RequestError, match="size"):
        PhantomsWorld(size=8)
    with pytest.raises(ValueError, match="lesions is 0"):
        PhantomsWorld(lesions=0)
