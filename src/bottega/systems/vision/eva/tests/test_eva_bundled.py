"""The weights that come with the package name emoji and match scenes as their card says, better than chance."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import bottega
from bottega.room import Measure, silent
from bottega.systems.vision.eva.evaluation import held_out_tones, naming, scenes
from bottega.systems.vision.eva.model import EvaRoom
from bottega.weights import bundled_path, card_path, read_card

ROOM = Path(__file__).parents[1]
COUNT = 96


@pytest.fixture(scope="module")
def measured() -> dict[str, Measure]:
    model = bottega.load("eva").model
    assert isinstance(model, EvaRoom)
    with torch.inference_mode():
        return {
            **naming(model, 1, COUNT, silent),
            **held_out_tones(model, COUNT, silent),
            **scenes(model, 1, COUNT, silent),
        }


def test_the_file_is_small() -> None:
    assert bundled_path(ROOM, "tiny").stat().st_size < 4e6


@pytest.mark.parametrize(
    "name", ["naming, top 5", "held-out tones, top 5", "sentence of a scene, top 5", "scene of a sentence, top 5"]
)
def test_figures_are_as_recorded(name: str, measured: dict[str, Measure]) -> None:
    """Within four standard errors of the recorded share, and far above what exchanged pictures reach."""
    share, found = read_card(card_path(bundled_path(ROOM, "tiny"))).metrics[name] / 100, measured[name]
    assert found.baseline is not None
    assert found.control is not None
    assert found.value > 2 * max(found.baseline, found.control)
    assert found.value > 100 * (share - 4 * (share * (1 - share) / found.samples) ** 0.5)
