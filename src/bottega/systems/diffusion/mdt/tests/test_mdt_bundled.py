"""The weights that come with the package draw their classes as their card says, better than chance."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

import bottega
from bottega.room import Measure, silent
from bottega.systems.diffusion.mdt.evaluation import evaluate
from bottega.systems.diffusion.mdt.model import MdtPipeline
from bottega.weights import WeightsCard, bundled_path, card_path, read_card

ROOM = Path(__file__).parents[1]
COUNT = 32


@cache
def card() -> WeightsCard:
    return read_card(card_path(bundled_path(ROOM, "tiny")))


@pytest.fixture(scope="module")
def measured() -> dict[str, Measure]:
    model = bottega.load("mdt").model
    assert isinstance(model, MdtPipeline)
    return evaluate(model, 1, COUNT, silent)


def test_the_file_is_small_and_its_card_is_whole() -> None:
    assert "bottega train mdt" in card().command
    assert bundled_path(ROOM, "tiny").stat().st_size < 2.2e6


def test_classes_are_kept(measured: dict[str, Measure]) -> None:
    """Within four standard errors of the recorded share, and above what pictures of other classes reach."""
    name = "class of the nearest tile"
    share, found = card().metrics[name] / 100, measured[name]
    assert found.baseline is not None
    assert found.control is not None
    assert found.value > max(found.baseline, found.control)
    assert found.value > 100 * (share - 4 * (share * (1 - share) / COUNT) ** 0.5)


def test_pictures_are_as_near_to_emoji_as_recorded(measured: dict[str, Measure]) -> None:
    name = "kernel distance (pixels-8x8-8)"
    assert measured[name].value < card().metrics[name] + 0.05
