"""What the bundled weights understand: black in, black out; any number and order of prompts; shuffled ones collapse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import bottega
from bottega.networks import TargetKind
from bottega.systems.vision.seggpt.evaluation import PALETTE, drawn, equivariance, paint_queries, score
from bottega.systems.vision.seggpt.model import SegGpt
from bottega.systems.vision.seggpt.sampling import Prompt, paint, tune
from bottega.systems.vision.seggpt.system import SYSTEM
from bottega.worlds.contexts import Context, ContextKind

BUNDLED = [SYSTEM.bundled] if SYSTEM.bundled else []
pytestmark = pytest.mark.parametrize("preset", BUNDLED)


@pytest.fixture(scope="module")
def model() -> SegGpt:
    loaded = bottega.load("seggpt").model
    assert isinstance(loaded, SegGpt)
    return loaded


@pytest.fixture(scope="module")
def contexts() -> list[Context]:
    return drawn((ContextKind.EMOJI_VIEWS,), 7, 24, 64)


def examples(context: Context, colors: np.ndarray = PALETTE) -> tuple[Prompt, torch.Tensor]:
    """The first pictures of a context as prompts, and its last as the query."""
    pictures = torch.from_numpy(context.pictures).movedim(-1, 1).float() / 255
    return Prompt(pictures[:-1], torch.from_numpy(colors[context.labels[:-1]]).movedim(-1, 1)), pictures[-1]


def test_black_examples_give_black(preset: str, model: SegGpt, contexts: list[Context]) -> None:
    for context in contexts[:8]:
        prompt, query = examples(context, np.zeros_like(PALETTE))
        assert paint(model, prompt, query, TargetKind.INSTANCE).mean() < 0.03, preset


def test_shuffled_examples_collapse(preset: str, model: SegGpt, contexts: list[Context]) -> None:
    right = score(contexts, paint_queries(model, contexts))
    wrong = score(contexts, paint_queries(model, contexts, shuffle=True))
    assert right > 0.5, preset
    assert wrong < 0.4 * right


def test_answers_follow_the_colours(preset: str, model: SegGpt, contexts: list[Context]) -> None:
    measured = equivariance(model, contexts)
    assert measured.control is not None
    assert measured.value > 80 > measured.control, preset


def test_prompts_in_any_number_and_order(preset: str, model: SegGpt) -> None:
    context = drawn((ContextKind.EMOJI,), 8, 1, 64, pictures=4)[0]
    prompt, query = examples(context)

    def made(order: list[int]) -> torch.Tensor:
        return paint(model, Prompt(prompt.pictures[order], prompt.colors[order]), query, TargetKind.SEMANTIC)

    torch.testing.assert_close(made([0, 0, 0]), made([0]), atol=1e-4, rtol=1e-4, msg=preset)
    torch.testing.assert_close(made([2, 0, 1]), made([0, 1, 2]), atol=1e-4, rtol=1e-4)


def test_tuning_learns_from_the_examples(preset: str, model: SegGpt) -> None:
    prompt, _ = examples(drawn((ContextKind.EMOJI,), 9, 1, 64, pictures=4)[0])
    losses: list[float] = []
    tune(model, prompt, TargetKind.SEMANTIC, steps=60, report=lambda _, __, loss: losses.append(loss))
    assert np.mean(losses[-20:]) < np.mean(losses[:20]), preset
