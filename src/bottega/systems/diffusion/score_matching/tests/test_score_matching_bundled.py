"""The weights that come with the package do what their card says."""

from __future__ import annotations

from pathlib import Path

import pytest

import bottega
from bottega.room import silent
from bottega.systems.diffusion.score_matching.config import Method
from bottega.systems.diffusion.score_matching.evaluation import evaluate
from bottega.weights import bundled_path, card_path, read_card

ROOM = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def measured():
    return evaluate(bottega.load("score_matching").model, 1, 1000, silent)


def test_the_recorded_figures_hold(measured):
    recorded = read_card(card_path(bundled_path(ROOM, "tiny"))).metrics
    for name, measure in measured.items():
        if "Langevin" in name:
            assert abs(measure.value - recorded[name]) < 100 * 4 * 0.016, name
        else:
            assert measure.value < 1.5 * recorded[name] + 1e-3, name


@pytest.mark.parametrize("method", Method)
def test_every_network_is_far_better_than_none_where_data_are(measured, method):
    figure = measured[f"Fisher divergence, {method.value}"]
    assert figure.value < 0.03 * figure.baseline
    assert figure.value < 0.03 * figure.control
