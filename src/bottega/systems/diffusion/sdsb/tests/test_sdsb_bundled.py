"""The bundled bridge comes near to its other end, both ways, by ways far shorter than between random pairs."""

from __future__ import annotations

from pathlib import Path

import torch

import bottega
from bottega.room import silent
from bottega.systems.diffusion.sdsb.evaluation import evaluate
from bottega.weights import bundled_path, card_path, read_card

ROOM = Path(__file__).parents[1]


@torch.inference_mode()
def test_both_ways_arrive_as_the_card_says() -> None:
    recorded = read_card(card_path(bundled_path(ROOM, "tiny"))).metrics
    found = evaluate(bottega.load("sdsb").model, 1, 400, silent)
    for way in ("there", "back"):
        name = f"sliced Wasserstein distance to the other end, {way}"
        distance, length = found[name], found[f"squared length of the way, {way}"]
        assert distance.baseline is not None
        assert distance.control is not None
        assert length.baseline is not None
        assert distance.value < 0.75 * min(distance.baseline, distance.control)
        assert distance.value < recorded[name] + 0.04  # what chance adds with 400 points
        assert length.value < 0.5 * length.baseline
