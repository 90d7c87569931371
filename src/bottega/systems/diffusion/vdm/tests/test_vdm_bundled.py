"""The bundled weights count bits as their card says, and their schedule makes the count vary less."""

from __future__ import annotations

from pathlib import Path

import pytest

import bottega
from bottega.room import Measure, silent
from bottega.systems.diffusion.vdm.evaluation import evaluate
from bottega.systems.diffusion.vdm.model import Vdm
from bottega.weights import WeightsCard, bundled_path, card_path, read_card

ROOM = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def measured() -> dict[str, Measure]:
    model = bottega.load("vdm").model
    assert isinstance(model, Vdm)
    return evaluate(model, 1, 24, silent)


def card() -> WeightsCard:
    return read_card(card_path(bundled_path(ROOM, "tiny")))


def test_the_file_is_small_and_its_card_is_whole() -> None:
    assert "bottega train vdm" in card().command
    assert bundled_path(ROOM, "tiny").stat().st_size < 1e6


def test_bits_are_far_below_a_gaussians_and_those_of_scrambled_pictures(measured: dict[str, Measure]) -> None:
    bits = measured["bits per dimension, held-out"]
    assert bits.baseline is not None
    assert bits.control is not None
    assert bits.value < bits.baseline - 1
    assert bits.value < bits.control - 5
    assert bits.value < card().metrics["bits per dimension, held-out"] + 0.5  # of 24 pictures, two standard errors


def test_the_schedule_changes_the_spread_and_not_the_bits(measured: dict[str, Measure]) -> None:
    spread = measured["spread of one estimate, learned schedule"]
    straight = measured["bits per dimension, straight schedule"]
    assert spread.baseline is not None
    assert straight.baseline is not None
    assert spread.value < 0.7 * spread.baseline
    error = (spread.value**2 + spread.baseline**2) ** 0.5 / spread.samples**0.5
    assert abs(straight.value - straight.baseline) < 4 * error
