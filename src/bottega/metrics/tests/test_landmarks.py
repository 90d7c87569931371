"""The reader of landmarks finds what it was shown, on pictures that it has not seen."""

from __future__ import annotations

import pytest
import torch

from bottega.errors import RequestError
from bottega.metrics import LandmarkReader


def spots(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A bright and a dark spot somewhere on a grey picture of 32 pixels."""
    draw = torch.Generator().manual_seed(seed)
    places = 6 + 20 * torch.rand(count, 2, 2, generator=draw)
    line = torch.arange(32.0)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)
    shapes = torch.exp(-(grid - places[:, :, None, None]).square().sum(-1) / 12)
    picture = (shapes[:, 0] - shapes[:, 1])[:, None].expand(-1, 3, -1, -1)
    return picture + 0.02 * torch.randn(count, 3, 32, 32, generator=draw), places


def test_landmarks_of_new_pictures_are_found():
    reader = LandmarkReader.fit(*spots(300, 0))
    pictures, places = spots(60, 1)
    error = (reader(pictures) - places).norm(dim=2).mean()
    guess = (places - places.mean(0)).norm(dim=2).mean()
    assert error < 0.25 * guess
    first = reader.whole(torch.zeros(1, reader.whole.mean.numel()))
    assert first.shape == (1, 4)


def test_shuffled_lessons_teach_nothing():
    pictures, places = spots(300, 0)
    reader = LandmarkReader.fit(pictures, places.roll(7, 0))
    new, truth = spots(60, 1)
    assert (reader(new) - truth).norm(dim=2).mean() > 0.8 * (truth - truth.mean(0)).norm(dim=2).mean()


def test_a_few_pictures_are_too_few():
    with pytest.raises(RequestError, match="at least 50"):
        LandmarkReader.fit(*spots(20, 0))
