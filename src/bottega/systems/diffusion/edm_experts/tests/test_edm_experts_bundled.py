"""The weights that come with the package do what their card says, better than chance and than other prompts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

import bottega
from bottega.data import tensor_to_pictures
from bottega.processes.diffusion import no_report
from bottega.systems.diffusion.edm_experts.evaluation import binding, bound, expert_gain, painting, prompts
from bottega.systems.diffusion.edm_experts.inference import ask, draw
from bottega.systems.diffusion.edm_experts.model import EdmExperts
from bottega.weights import WeightsCard, bundled_path, card_path, read_card
from bottega.worlds import ColouredEmojiWorld

ROOM = Path(__file__).parents[1]
COUNT = 16


@cache
def model() -> EdmExperts:
    return bottega.load("edm_experts").model


def card() -> WeightsCard:
    return read_card(card_path(bundled_path(ROOM, "tiny")))


def test_the_file_is_small_and_its_card_is_whole() -> None:
    assert "bottega train edm_experts" in card().command
    assert bundled_path(ROOM, "tiny").stat().st_size < 2.2e6


@torch.inference_mode()
def test_words_bind_colours_to_shapes() -> None:
    """Within four standard errors of the recorded shares, and far above what other prompts and real scenes get."""
    asked = prompts(1, COUNT)
    told = ask(model(), [one.caption for one in asked])
    made = tensor_to_pictures(draw(model(), told, 1, steps=15, upscale_steps=6, guidance=2.0, report=no_report))
    scenes = [sample.picture for sample in ColouredEmojiWorld(split="train", seed=9).batch(range(COUNT))]
    chance = [bound(picture, one) for picture, one in zip(scenes, asked, strict=True)]
    found, recorded = binding(made, asked, chance, "CLIP and T5"), card().metrics
    for name, measure in found.items():
        share = recorded[name] / 100
        assert measure.value > recorded[name] - 100 * 4 * (share * (1 - share) / (2 * COUNT)) ** 0.5, name
    there = found["colours that are there, CLIP and T5"]
    assert there.baseline is not None
    assert there.control is not None
    assert there.value > max(there.baseline, there.control) + 25


@torch.inference_mode()
def test_paint_puts_things_where_it_is() -> None:
    measure = painting(model(), prompts(1, COUNT), 1)
    assert measure.baseline is not None
    assert measure.control is not None
    assert measure.value > 1.3 * max(measure.baseline, measure.control)


@torch.inference_mode()
def test_experts_are_better_on_their_own_levels() -> None:
    for name, measure in expert_gain(model(), 0, 64).items():
        assert measure.baseline is not None
        assert measure.value < measure.baseline, name
        assert measure.value < 1.02 * card().metrics[name], name
