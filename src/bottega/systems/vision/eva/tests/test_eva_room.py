"""EVA's stages, requests and what it offers to other rooms, on small untrained models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bottega.errors import RequestError, WeightsError
from bottega.networks import EvaConfig
from bottega.room import Offer, silent
from bottega.systems.vision.eva.config import (
    PRESETS,
    DecoderConfig,
    EvaOptions,
    EvaRoomConfig,
    MaskedConfig,
    Target,
    configure,
)
from bottega.systems.vision.eva.evaluation import masked_figures, probe_accuracy
from bottega.systems.vision.eva.inference import EvaRequest, Task, emoji_names, infer
from bottega.systems.vision.eva.model import EvaRoom, grid_waves
from bottega.systems.vision.eva.objective import masked_loss, teacher_features
from bottega.systems.vision.eva.recipe import STAGES, MaskedRecipe, clip_recipe, masked_recipe, teacher_recipe
from bottega.systems.vision.eva.system import SYSTEM
from bottega.training import FitSettings, Optimizer, sample_generators
from bottega.worlds.emoji import EmojiPlacesWorld

TINY = PRESETS["tiny"].config
SMALL = replace(
    TINY,
    tower=replace(TINY.tower, width=32, depth=1, num_heads=2, hidden=64),
    clip=replace(TINY.clip, text=replace(TINY.clip.text, width=32, depth=1, num_heads=2)),
    teacher=replace(TINY.teacher, width=32, depth=1, num_heads=2),
)
WORLD = EmojiPlacesWorld(length=300)


@pytest.fixture
def room():
    torch.manual_seed(0)
    made = EvaRoom(SMALL).eval()
    teacher_recipe(made, WORLD)  # brings a tokenizer
    return made


def batch_of(recipe, count=8, step=3):
    return recipe.batch(range(count), torch.Generator().manual_seed(step << 32))


def test_features_of_any_size_have_length_one_and_can_be_compared(room):
    offered = SYSTEM.offer(Offer.IMAGE_TEXT)
    assert offered is not None
    encoder = offered(room)
    pictures = 2 * torch.rand(3, 3, 50, 90) - 1
    seen, told = encoder.pictures(pictures), encoder.texts(["a red apple", "two cats"])
    assert seen.shape == (3, encoder.width)
    torch.testing.assert_close(seen.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(told.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(encoder.chances(pictures, ["a red apple", "two cats"]).sum(1), torch.ones(3))
    pictures.requires_grad_()
    encoder.pictures(pictures).sum().backward()
    assert pictures.grad is not None  # guidance can follow it


def test_a_sentence_is_the_same_alone_and_among_longer_ones(room):
    together = room.text_features(["cat", "a very long sentence about three red apples left of a sleeping cat"])
    torch.testing.assert_close(together[:1], room.text_features(["cat"]), atol=1e-6, rtol=1e-5)


def test_telling_gives_features_similarities_and_chances(room, tmp_path):
    result = infer(room, EvaRequest(labels=("cat face", "drum", "flag of france"), top=2), silent)
    assert result.picture_features.shape == (1, 64)
    np.testing.assert_allclose(result.similarities, result.picture_features @ result.label_features.T, atol=1e-5)
    np.testing.assert_allclose(result.chances.sum(1), 1, atol=1e-5)
    assert len(result.best(0)) == 2
    assert result.best(0)[0][1] == pytest.approx(result.chances[0].max())
    (written,) = result.save(tmp_path / "out.npz")
    with np.load(written) as arrays:
        assert set(arrays) >= {"picture_features", "label_features", "similarities", "chances", "labels"}
        assert arrays["labels"].tolist() == ["cat face", "drum", "flag of france"]


def test_finding_shows_the_best_emoji_of_each_sentence(room):
    result = infer(room, EvaRequest(inputs=("red apple", "sad"), task=Task.FIND, top=3), silent)
    assert result.pictures.shape == (6, 64, 64, 3)
    assert [caption.split(":")[0] for caption in result.captions] == ["red apple"] * 3 + ["sad"] * 3


def test_names_are_those_of_emoji_without_tones():
    names = emoji_names()
    assert len(names) == len(set(names)) > 1500
    assert not any("skin tone" in name for name in names)


def test_a_tower_without_texts_gives_features_alone():
    config = replace(SMALL, clip=None, teacher=None)
    bare = EvaRoom(config).eval()
    result = infer(bare, EvaRequest(), silent)
    assert result.picture_features.shape == (1, 32)
    assert "32 features" in result.texts()[0]
    with pytest.raises(WeightsError, match="pictures alone"):
        infer(bare, EvaRequest(inputs=("cat",), task=Task.FIND), silent)
    with pytest.raises(WeightsError, match="pictures alone"):
        bare.image_text()


def test_weights_without_a_tokenizer_say_so():
    with pytest.raises(WeightsError, match=r"vocab\.json"):
        EvaRoom(SMALL).text_features(["cat"])


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("top", {"top": 0}),
        ("seed", {"seed": -1}),
        ("empty", {"labels": ("cat", " ")}),
        ("sentences", {"task": Task.FIND}),
        ("labels", {"task": Task.FIND, "inputs": ("cat",), "labels": ("dog",)}),
    ],
)
def test_wrong_requests_are_refused(field, values):
    with pytest.raises(RequestError, match=field):
        EvaRequest(**values)


def test_the_teacher_sees_everything_and_learns_nothing(room):
    recipe = masked_recipe(room, WORLD)
    given = batch_of(recipe)
    assert given.mask.sum(1).tolist() == [26] * 8
    masked_loss(room, given.pictures, given.mask)["loss"].backward()
    assert all(weight.grad is None for weight in room.teacher.parameters())
    assert all(weight.grad is None for weight in room.clip.parameters())
    assert all(weight.grad is not None for weight in recipe.model.parameters())
    trained = {id(weight) for weight in recipe.model.parameters()}
    assert not trained & {id(weight) for weight in room.teacher.parameters()}
    everywhere = teacher_features(room, given.pictures)
    torch.testing.assert_close(everywhere[:2], teacher_features(room, given.pictures[:2]), atol=1e-5, rtol=1e-4)
    assert everywhere.shape == (8, 64, 64)


def test_pixels_are_the_target_that_training_may_choose(room):
    pixels = EvaRoom(configure(SMALL, EvaOptions(target=Target.PIXELS)))
    assert pixels.student.head.out_features == 3 * 8 * 8
    given = batch_of(masked_recipe(pixels, WORLD))
    before = masked_loss(pixels, given.pictures, given.mask)["loss"]
    assert 0.5 < before < 2  # normalised pixels have variance 1
    assert configure(TINY, EvaOptions()) == TINY


def descend(recipe, given, steps=40):
    """The losses of AdamW's steps on one batch."""
    settings = FitSettings(steps=steps, batch_size=8, learning_rate=2e-3)
    optimizer = torch.optim.AdamW(recipe.parameter_groups(settings), lr=2e-3)
    losses = []
    for _ in range(steps):
        made = recipe.model(given)
        loss = made["loss"] if isinstance(made, dict) else made
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_one_batch_is_learnt_by_heart(room):
    masked = descend(masked_recipe(room, WORLD), batch_of(masked_recipe(room, WORLD)))
    assert masked[0] > -0.2
    assert masked[-1] < -0.5
    matched = descend(clip_recipe(room, WORLD), batch_of(clip_recipe(room, WORLD)))
    assert matched[-1] < 0.3 * matched[0]


def test_what_is_read_of_a_picture_depends_on_the_picture_alone(room):
    recipe = clip_recipe(room, WORLD)
    generator = torch.Generator().manual_seed(9 << 32)
    whole, part = recipe.batch([4, 5, 6], generator), recipe.batch([6], generator)
    assert whole.kept.shape == (3, 32)
    assert torch.equal(whole.kept[2], part.kept[0])
    assert torch.equal(whole.pictures[2], part.pictures[0])
    assert torch.equal(whole.tokens[2], part.tokens[0])
    assert teacher_recipe(room, WORLD).batch([4], generator).kept.shape == (1, 64)


def test_each_layer_has_its_own_rate(room):
    config = replace(SMALL, clip=replace(SMALL.clip, picture_decay=0.5, text_decay=0.8, text_rate=0.1))
    recipe = clip_recipe_of(config, room)
    settings = FitSettings(steps=1, batch_size=8, learning_rate=1.0, optimizer=Optimizer.LAMB)
    rates = {id(p): group["lr"] for group in recipe.parameter_groups(settings) for p in group["params"]}
    tower, clip = recipe.model.tower, recipe.model.clip
    assert rates[id(tower.patch_embed.proj.weight)] == pytest.approx(0.5**2)
    assert rates[id(tower.blocks[0].mlp.fc1.weight)] == pytest.approx(0.5)
    assert rates[id(clip.text.blocks[0].mlp.fc1.weight)] == pytest.approx(0.08)
    assert rates[id(clip.projection.weight)] == 1.0


def clip_recipe_of(config, like):
    made = EvaRoom(config)
    made.attach(like.assets())
    return clip_recipe(made, WORLD)


def test_what_is_left_out_is_not_seen_by_the_decoders_tower():
    config = EvaRoomConfig(
        tower=EvaConfig(size=16, patch_size=4, width=32, depth=2, num_heads=2, hidden=64, key_bias=True),
        masked=DecoderConfig(features=20, width=24, depth=1, num_heads=2),
    )
    torch.manual_seed(0)
    made = EvaRoom(config).eval()
    recipe = MaskedRecipe(made, EmojiPlacesWorld(size=16, length=20))
    given = recipe.batch(range(3), torch.Generator().manual_seed(5 << 32))
    assert given.mask.sum(1).tolist() == [12] * 3
    hidden = given.mask.view(3, 1, 4, 1, 4, 1).expand(-1, 3, -1, 4, -1, 4).reshape(3, 3, 16, 16)
    other = torch.where(hidden, torch.randn(3, 3, 16, 16), given.pictures)
    told = made.student(made.tower, given.pictures, given.mask)
    assert told.shape == (3, 16, 20)
    assert torch.equal(told, made.student(made.tower, other, given.mask))
    seen = torch.where(hidden, given.pictures, torch.randn(3, 3, 16, 16))
    assert not torch.equal(told, made.student(made.tower, seen, given.mask))


def test_fixed_positions_are_waves_of_column_and_row():
    waves = grid_waves(8, 3)
    assert waves.shape == (10, 8)
    assert (waves[0] == 0).all()
    row, column = 2, 1
    expected = [np.sin(column), np.sin(column / 100), np.cos(column), np.cos(column / 100)]
    expected += [np.sin(row), np.sin(row / 100), np.cos(row), np.cos(row / 100)]
    np.testing.assert_allclose(waves[1 + 3 * row + column].numpy(), expected, atol=1e-6)


def test_figures_of_hidden_patches_stand_beside_the_mean_feature(room):
    figure = masked_figures(room, seed=0, limit=16)["cosine of hidden patches"]
    assert figure.baseline is not None
    assert figure.value < 0.3 < figure.baseline  # an untrained student tells less than the mean


def test_a_probe_finds_what_is_there_and_nothing_in_noise():
    def told(pictures):
        return torch.from_numpy(pictures).float().mean((1, 2))

    def noise(pictures):
        return torch.randn(len(pictures), 8, generator=torch.Generator().manual_seed(0))

    assert probe_accuracy(noise, seed=0, limit=100)[0] < 20
    assert probe_accuracy(told, seed=0, limit=100)[0] < 40


def test_stages_are_in_order_and_the_last_tunes():
    assert [stage.name for stage in STAGES] == ["teacher", "masked", "clip"]
    assert [stage.finetune for stage in STAGES] == [False, False, True]
    first, second = sample_generators(torch.Generator().manual_seed(1), [0, 1])
    assert first.initial_seed() != second.initial_seed()


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="masked pre-training"):
        EvaRoomConfig(tower=TINY.tower)
    with pytest.raises(ValueError, match="patches a side"):
        replace(TINY, tower=replace(TINY.tower, patch_size=16))
    with pytest.raises(ValueError, match="space of clip"):
        replace(TINY, teacher=replace(TINY.teacher, embedding=32))
    with pytest.raises(ValueError, match="share"):
        MaskedConfig(share=1.0)
    with pytest.raises(RequestError, match="no masked pre-training"):
        masked_recipe(EvaRoom(replace(TINY, masked=None)), WORLD)
    with pytest.raises(RequestError, match="no teacher"):
        teacher_recipe(EvaRoom(replace(TINY, teacher=None)), WORLD)
