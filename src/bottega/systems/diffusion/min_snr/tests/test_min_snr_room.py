"""Min-SNR's room: what it draws and shows, what its recipe trains, and its figures."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bottega.errors import RequestError
from bottega.networks import DiffusionVitConfig
from bottega.processes.diffusion import X0, Ddim, Epsilon, TrailingGrid, UniformTimes, V
from bottega.room import silent
from bottega.systems.diffusion.min_snr.config import (
    EMOJI_GROUPS,
    PRESETS,
    TINY,
    WEIGHTINGS,
    MinSnrConfig,
    MinSnrOptions,
    Weights,
    configure,
)
from bottega.systems.diffusion.min_snr.evaluation import race, race_measures
from bottega.systems.diffusion.min_snr.inference import MinSnrRequest, Mode, class_id, draw, infer, prior
from bottega.systems.diffusion.min_snr.model import MinSnrPipeline
from bottega.systems.diffusion.min_snr.objective import min_snr_loss
from bottega.systems.diffusion.min_snr.recipe import MinSnrRecipe, class_of
from bottega.worlds import EmojiWorld

SMALL = replace(
    TINY,
    network=DiffusionVitConfig(
        size=16, channels=3, patch_size=8, width=16, depth=2, num_heads=2, times=100, classes=len(EMOJI_GROUPS) + 1
    ),
)


def pipeline(config=SMALL, seed=0):
    torch.manual_seed(seed)
    model = MinSnrPipeline(config).eval()
    with torch.no_grad():
        model.network.head.weight.normal_(std=0.05)
    return model


@pytest.mark.parametrize("prediction", [X0(), Epsilon(), V()], ids=repr)
def test_every_parameter_learns(prediction):
    model = pipeline(replace(SMALL, prediction=prediction))
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(10).repeat(20)
    min_snr_loss(model, torch.randn(200, 3, 16, 16, generator=generator), classes, generator).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_one_batch_is_learned():
    torch.manual_seed(0)
    model = MinSnrPipeline(SMALL)
    recipe = MinSnrRecipe(model, EmojiWorld(size=16, scenes=0.0))
    batch = recipe.batch(range(8), torch.Generator().manual_seed(0))
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=5e-3), []
    for _ in range(40):
        optimizer.zero_grad()
        loss = min_snr_loss(model, batch.pictures, batch.classes, torch.Generator().manual_seed(1))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_classes_come_from_the_emoji_and_some_say_nothing():
    model = pipeline()
    recipe = MinSnrRecipe(model, EmojiWorld(size=16, scenes=0.0))
    batch = recipe.batch(range(400), torch.Generator().manual_seed(0))
    assert batch.pictures.shape == (400, 3, 16, 16)
    assert -1 <= batch.pictures.min() < batch.pictures.max() <= 1
    assert 0.09 < (batch.classes == model.config.classes).float().mean() < 0.21
    told = torch.tensor([class_of(model, recipe.source.sample(i)) for i in range(400)])
    kept = batch.classes != model.config.classes
    assert torch.equal(batch.classes[kept], told[kept])
    assert len(set(told.tolist())) == len(EMOJI_GROUPS)


@pytest.mark.parametrize("text", ["Food & Drink", "food and drink", "3"])
def test_a_class_has_a_name_and_a_number(text):
    assert class_id(pipeline(), text) == 3


@pytest.mark.parametrize("text", ["breakfast", "9", "-1"])
def test_an_unknown_class_is_refused(text):
    with pytest.raises(RequestError, match="the class"):
        infer(pipeline(), MinSnrRequest(inputs=(text,)), silent)


def test_an_item_depends_on_the_seed_and_its_place_alone():
    model = pipeline()
    request = MinSnrRequest(inputs=("flags", "objects"), steps=3, seed=5)
    both = infer(model, request, silent)
    first = infer(model, replace(request, inputs=("flags",)), silent)
    assert both.captions == ("flags", "objects")
    assert np.abs(both.pictures[0].astype(int) - first.pictures[0]).max() <= 1
    assert not np.array_equal(both.pictures[0], infer(model, replace(request, seed=6), silent).pictures[0])


def test_guidance_acts_below_the_limit_only():
    model = pipeline()
    ids, request = [2], MinSnrRequest(steps=4, guidance=3.0)
    plain = draw(model, ids, replace(request, guidance=1.0))
    assert torch.equal(draw(model, ids, replace(request, guide_below=0.0, steps=1)), draw(
        model, ids, replace(request, guidance=1.0, steps=1)))  # fmt: skip
    assert not torch.equal(draw(model, ids, request), plain)
    assert not torch.equal(draw(model, ids, replace(request, guide_below=0.5)), draw(model, ids, request))


def test_the_prior_is_the_same_model():
    model = pipeline()
    known = prior(model)
    x, t = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([3.0, 70.0])
    cond = known.conditions(["flags", "objects"])
    with torch.no_grad():
        assert torch.equal(known.denoiser()(x, t, cond), model.network(x, t, torch.tensor([8, 6])))
        made = Ddim()(known.guided(2.0), x, TrailingGrid(2)(known.path), known.path, cond=cond)
    assert made.shape == x.shape
    assert known.null_cond.tolist() == [model.config.classes]


def test_the_transfer_matrix_is_a_picture_and_leaves_the_model_alone():
    model, seen = pipeline(), []
    before = {name: value.clone() for name, value in model.state_dict().items()}
    request = MinSnrRequest(mode=Mode.TRANSFER, bands=3, tuning_steps=2)
    result = infer(model, request, seen.append)
    assert [(p.step, p.total) for p in seen] == [(1, 3), (2, 3), (3, 3)]
    assert result.pictures.shape[0] == 1
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert np.array_equal(result.pictures, infer(model, request, silent).pictures)


def test_the_weights_are_a_picture_and_take_no_classes():
    result = infer(pipeline(), MinSnrRequest(mode=Mode.WEIGHTS), silent)
    assert len(np.unique(result.pictures.reshape(-1, 3), axis=0)) > 8
    with pytest.raises(RequestError, match="no inputs"):
        infer(pipeline(), MinSnrRequest(mode=Mode.WEIGHTS, inputs=("flags",)), silent)


def test_training_may_be_told_another_weighting():
    assert set(WEIGHTINGS) == set(Weights)
    assert configure(TINY, MinSnrOptions()) is TINY
    assert configure(TINY, MinSnrOptions(weighting=Weights.P2)).weighting == WEIGHTINGS[Weights.P2]


def test_the_weighting_changes_the_loss_as_it_says():
    clean, classes = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.zeros(64).long()

    def loss(weights):
        config = replace(SMALL, weighting=WEIGHTINGS[weights])
        return min_snr_loss(pipeline(config), clean, classes, torch.Generator().manual_seed(4)).item()

    path = pipeline().path
    t = UniformTimes()(64, path, torch.Generator().manual_seed(4))
    assert loss(Weights.MIN_SNR) < loss(Weights.SNR)
    assert loss(Weights.SNR) + loss(Weights.EVEN) == pytest.approx(loss(Weights.EVEN_IN_V), rel=1e-5)
    assert t.max() <= path.t_max


def test_racers_share_everything_but_the_weighting():
    first, again = (race(SMALL, 2, seed=1, checks=2) for _ in range(2))
    assert first == again
    assert list(first) == [1, 2]
    assert race(replace(SMALL, weighting=WEIGHTINGS[Weights.INVERSE_SNR]), 2, seed=1, checks=2) != first


def test_the_race_says_who_needed_how_many_updates():
    found = race_measures(4, 0, silent, size=SMALL, checks=2)
    needed = next(measure for name, measure in found.items() if name.startswith("updates"))
    best = found["least distance in the race"]
    assert max(needed.value, needed.baseline, needed.control) <= 4
    slowest = max(best.value, best.baseline, best.control)
    assert f"{slowest:.3g}" in next(name for name in found if name.startswith("updates"))


@pytest.mark.parametrize(
    "change",
    [{"noise_levels": 101}, {"names": ("one",)}, {"network": replace(TINY.network, classes=1)},
     {"network": replace(TINY.network, channels=4)}],
)  # fmt: skip
def test_impossible_sizes_are_refused(change):
    with pytest.raises(ValueError, match="network|names|classes"):
        replace(TINY, **change)


def test_published_sizes_are_the_published_ones():
    base, large = PRESETS["imagenet256-b"].config, PRESETS["imagenet64-l"].config
    assert (base.network.width, base.network.depth, base.picture_size, base.weighting.gamma) == (768, 12, 256, 5.0)
    assert (large.network.width, large.network.depth, large.picture_size) == (1024, 21, 64)
    assert isinstance(large, MinSnrConfig)
    assert isinstance(large.prediction, Epsilon)
