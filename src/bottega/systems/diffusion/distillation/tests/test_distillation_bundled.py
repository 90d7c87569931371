"""The bundled student comes nearer to its teacher in few steps than DDIM does in as many, as its card says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import bottega
from bottega.processes.diffusion import no_report
from bottega.systems.diffusion.distillation.inference import draw
from bottega.systems.diffusion.distillation.model import Distillation, strengths
from bottega.weights import WeightsCard, bundled_path, card_path, read_card

ROOM = Path(__file__).parents[1]
WORDS = ("heart", "country flag", "face smiling", "person role", "animal mammal", "keycap", "clothing", "geometric")


def card() -> WeightsCard:
    return read_card(card_path(bundled_path(ROOM, "tiny")))


@pytest.mark.parametrize("steps", ["2 steps", "4 steps"])
def test_the_card_says_that_few_steps_pay(steps: str) -> None:
    """Nearer to the teacher's pictures than DDIM with as many steps, and as near to emoji as it within a quarter."""
    figures = card().metrics
    assert figures[f"RMSE to the teacher, {steps}"] < figures[f"RMSE to the teacher, {steps}: baseline"]
    name = "Fréchet distance (pixels-8x8-8)"
    assert figures[f"{name}, {steps}"] < 1.25 * figures[f"{name}, teacher of 50 steps"]


@torch.inference_mode()
def test_the_student_follows_its_words() -> None:
    """Four steps come near to where sixteen do, and not to what was drawn for other words."""
    student = bottega.load("distillation").model
    assert isinstance(student, Distillation)
    scale = strengths(student, None, len(WORDS))
    few, many = (draw(student, WORDS, scale, steps=steps, seed=1, report=no_report) for steps in (4, 16))
    near, other = ((few - part).square().mean().sqrt() for part in (many, many.roll(1, 0)))
    assert near < 0.6 * other
