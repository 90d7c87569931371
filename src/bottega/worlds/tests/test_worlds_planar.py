"""Points in the plane: where they lie, and that a seed gives them again."""

import pytest
import torch

from bottega.worlds.planar import Planar, planar_points


@pytest.mark.parametrize("kind", Planar)
def test_points_are_their_seeds(kind):
    first, again, other = (planar_points(kind, 500, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.shape == (500, 2)
    assert first.dtype is torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.mean(0).abs().max() < 0.15


def test_a_checkerboard_has_eight_even_fields():
    points = planar_points(Planar.CHECKERBOARD, 8000, torch.Generator().manual_seed(0))
    column, row = ((points + 1) * 2).floor().long().unbind(1)
    assert ((column + row) % 2 == 0).all()
    counts = torch.bincount(column * 4 + row, minlength=16)
    assert sorted((counts > 0).tolist()) == [False] * 8 + [True] * 8
    assert counts[counts > 0].min() > 850


def test_eight_normals_lie_on_a_circle_and_moons_are_two():
    points = planar_points(Planar.EIGHT_NORMALS, 4000, torch.Generator().manual_seed(0))
    assert points.norm(dim=1).mean().item() == pytest.approx(0.75, abs=0.02)
    moons = planar_points(Planar.MOONS, 4000, torch.Generator().manual_seed(0))
    upper = moons[:, 1] > 0.2
    assert moons[upper, 0].mean() < moons[~upper, 0].mean()
