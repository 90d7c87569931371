"""Asking for pictures, and measuring them by their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bottega.errors import RequestError, WeightsError
from bottega.room import Progress, silent
from bottega.systems.diffusion.edm_experts.config import PRESETS, TINY
from bottega.systems.diffusion.edm_experts.evaluation import bound, colour_mask, evaluate, prompts, shape_of
from bottega.systems.diffusion.edm_experts.inference import EdmExpertsRequest, TextReaders, files, infer
from bottega.systems.diffusion.edm_experts.model import EdmExperts
from bottega.systems.diffusion.edm_experts.recipe import KEEP, BaseRecipe, ExpertsRecipe
from bottega.training import FitSettings, fit
from bottega.worlds import ColouredEmojiWorld

PROMPT = "a red heart and a blue circle"


@pytest.fixture(scope="module")
def model() -> EdmExperts:
    torch.manual_seed(0)
    made = EdmExperts(TINY).eval()
    BaseRecipe(made, ColouredEmojiWorld(length=300))  # trains the tokenizer
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return made


def test_parts_of_the_published_size_have_the_published_counts() -> None:
    """T5-XXL's encoder, CLIP ViT-L/14's towers; Imagen's and eDiff-I's first enlarging model has about 0.6 B."""
    with torch.device("meta"):
        whole = EdmExperts(PRESETS["ediff-i"].config)

    def billions(part: torch.nn.Module) -> float:
        return sum(parameter.numel() for parameter in part.parameters()) / 1e9

    assert billions(whole.encoders.t5) == 4.762310656
    assert billions(whole.encoders.clip_text) == 0.123060480
    assert billions(whole.encoders.clip_vision) == pytest.approx(0.304, abs=1e-3)
    assert billions(whole.upscalers[0]) == pytest.approx(0.6, abs=0.05)
    assert billions(whole.base) == 3 * billions(whole.base.members[0])


def test_a_request_makes_pictures_and_reports(model: EdmExperts) -> None:
    steps: list[Progress] = []
    result = infer(model, EdmExpertsRequest(inputs=(PROMPT,), count=2, steps=3, upscale_steps=2), steps.append)
    assert result.pictures.shape == (2, 32, 32, 3)
    assert result.captions == (PROMPT, PROMPT)
    assert [progress.step for progress in steps] == [1, 2, 3, 4, 5]
    assert {progress.stage for progress in steps} == {"denoise", "enlarge"}
    assert steps[0].preview is not None
    assert steps[0].preview().shape == (8, 8, 3)
    small = infer(model, EdmExpertsRequest(inputs=(PROMPT,), steps=2, upscale=False), silent)
    assert small.pictures.shape == (1, 8, 8, 3)


def test_readers_style_and_paint_change_the_picture(model: EdmExperts, tmp_path: Path) -> None:
    painting = np.full((40, 40, 3), 255, dtype=np.uint8)
    painting[:20], painting[30:] = (255, 0, 0), (0, 0, 255)
    Image.fromarray(painting).save(tmp_path / "map.png")
    paint = {"paint": str(tmp_path / "map.png"), "words": "red: red heart; blue: blue circle", "paint_strength": 9.0}
    changes = [
        {},
        {"readers": TextReaders.CLIP},
        {"readers": TextReaders.T5},
        {"style": str(tmp_path / "map.png")},
        paint,
    ]
    asked = [EdmExpertsRequest(inputs=(PROMPT,), steps=4, upscale=False, guidance=4.0, **change) for change in changes]
    made = [infer(model, request, silent).pictures for request in asked]
    assert all(not np.array_equal(made[0], other) for other in made[1:])
    assert files(asked[-1]) == (paint["paint"],)
    with pytest.raises(RequestError, match="words"):
        infer(model, EdmExpertsRequest(inputs=("a green square",), steps=1, **paint), silent)


@pytest.mark.parametrize(("changes", "words"), [
    ({"inputs": ()}, "input"), ({"count": 0}, "count"), ({"steps": 0}, "steps"),
    ({"upscale_steps": 0}, "upscale_steps"), ({"guidance": -1.0}, "guidance"),
    ({"paint_strength": 21.0}, "paint_strength"), ({"seed": -1}, "seed"),
    ({"paint": "map.png"}, "paint and words"),
])  # fmt: skip
def test_bad_requests_say_what_is_allowed(changes: dict[str, object], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        EdmExpertsRequest(**changes)


def test_texts_need_a_tokenizer() -> None:
    with pytest.raises(WeightsError, match="tokenizer"):
        infer(EdmExperts(TINY).eval(), EdmExpertsRequest(steps=1), silent)


def test_each_condition_is_left_out_by_its_own_coin(model: EdmExperts) -> None:
    recipe = BaseRecipe(model, ColouredEmojiWorld())
    keep = torch.cat([recipe.batch(range(100), torch.Generator().manual_seed(i)).keep for i in range(6)]).float()
    torch.testing.assert_close(keep.mean(0), torch.tensor(KEEP), rtol=0, atol=0.07)
    assert keep.T.corrcoef().fill_diagonal_(0).abs().max() < 0.15


def test_training_the_base_then_its_experts_lowers_the_loss(tmp_path: Path) -> None:
    torch.manual_seed(0)
    fresh, world = EdmExperts(TINY), ColouredEmojiWorld(length=2000)
    losses: list[float] = []
    settings = FitSettings(steps=30, batch_size=12, learning_rate=3e-3, log_every=1, workers=0)
    base = BaseRecipe(fresh, world)
    fit(base, settings, tmp_path / "base", report=lambda progress: losses.append(progress.loss))
    known = [loss for loss in losses if loss is not None]
    assert np.mean(known[-8:]) < 0.8 * np.mean(known[:4])
    base.finish()
    first, *_, last = ({k: v.clone() for k, v in member.state_dict().items()} for member in fresh.base.members)
    assert all(torch.equal(first[name], last[name]) for name in first)
    fit(ExpertsRecipe(fresh, world), FitSettings(steps=2, batch_size=6, workers=0), tmp_path / "experts")
    states = [member.state_dict() for member in fresh.base.members]
    assert all(any(not torch.equal(state[name], last[name]) for name in last) for state in states)


# ---------------------------------------------------------------------------------------------------------- measuring
def test_true_pictures_score_best() -> None:
    world, scores, wrong = ColouredEmojiWorld(split="heldout", seed=1), [], []
    asked = prompts(0, 24)
    pictures = {sample.caption: sample.picture for sample in world.batch(range(200))}
    for one, other in zip(asked, [*asked[1:], asked[0]], strict=True):
        scores.append(bound(pictures[one.caption], one))
        wrong.append(bound(pictures[one.caption], other))
    assert np.mean(scores, axis=0)[0] > 0.9
    assert np.mean(scores, axis=0)[1] > 0.85
    assert np.mean(wrong, axis=0)[0] < 0.5


def test_colours_and_shapes_are_read_from_pixels() -> None:
    for index in range(30):
        sample = ColouredEmojiWorld().sample(index)
        if len(sample.things) == 1:
            colour, shape = sample.things[0].name.split()
            mask = colour_mask(sample.picture, colour)
            assert (mask & sample.masks[0]).sum() > 0.7 * sample.masks[0].sum()
            assert shape_of(mask) == shape


def test_an_untrained_network_scores_like_its_control(model: EdmExperts) -> None:
    found = evaluate(model, 0, 6, silent)
    assert len(found) == 9
    for name, measure in found.items():
        assert np.isfinite(measure.value), name
        if measure.control is not None and measure.unit == "%":
            assert abs(measure.value - measure.control) <= 50
