"""The weights that come with the package know groups of emoji, as their card says."""

from __future__ import annotations

from pathlib import Path

import torch

import bottega
from bottega.room import silent
from bottega.systems.diffusion.min_snr.evaluation import quality
from bottega.systems.diffusion.min_snr.model import MinSnrPipeline
from bottega.weights import bundled_path, card_path, read_card

ROOM = Path(__file__).parents[1]
COUNT = 32


@torch.inference_mode()
def test_groups_are_kept_and_noise_is_removed() -> None:
    """Within four standard errors of the card, and better than chance, other groups and the mean picture."""
    path = bundled_path(ROOM, "tiny")
    assert path.stat().st_size < 2e6
    recorded, model = read_card(card_path(path)).metrics, bottega.load("min_snr").model
    assert isinstance(model, MinSnrPipeline)
    found = quality(model, 1, COUNT, silent)
    error, kept = found["error of x0, held-out tiles"], found["group of the nearest tile"]
    assert error.baseline is not None
    assert error.control is not None
    assert error.value < min(error.baseline / 2, error.control)
    assert error.value < 1.1 * recorded["error of x0, held-out tiles"]
    share = recorded["group of the nearest tile"] / 100
    assert kept.baseline is not None
    assert kept.control is not None
    assert kept.value > max(kept.baseline, kept.control)
    assert kept.value > 100 * (share - 4 * (share * (1 - share) / COUNT) ** 0.5)
