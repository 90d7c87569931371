"""What U-ViT's paper claims, and what training and running it promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bottega.data import pictures_to_tensor
from bottega.errors import Cancelled, RequestError, WeightsError
from bottega.networks import UVitTrunkConfig
from bottega.processes.diffusion import Uniform
from bottega.room import silent
from bottega.systems.diffusion.uvit.config import (
    PRESETS,
    ClassCondition,
    DiscreteTime,
    TextCondition,
    UVitConfig,
)
from bottega.systems.diffusion.uvit.evaluation import class_agreement, distances, evaluate
from bottega.systems.diffusion.uvit.inference import UVitRequest, class_id, infer
from bottega.systems.diffusion.uvit.model import UVit, UVitPipeline
from bottega.systems.diffusion.uvit.objective import denoiser, noise_path, uvit_loss
from bottega.systems.diffusion.uvit.recipe import UVitRecipe, class_of
from bottega.training import FitSettings, fit
from bottega.worlds import EmojiWorld, ShapesWorld
from bottega.worlds.emoji import EMOJI_CLASSES, load_index, reference_pictures, split

TRUNK = UVitTrunkConfig(width=32, depth=4, num_heads=4)
SMALL = UVitConfig(trunk=TRUNK, size=16, patch_size=4, condition=ClassCondition(classes=3, null=True), time_mlp=True)


def network(config=SMALL, seed=0):
    torch.manual_seed(seed)
    return UVit(config)


def named(**changes):
    condition = ClassCondition(classes=len(EMOJI_CLASSES), null=True, names=EMOJI_CLASSES)
    return replace(SMALL, condition=condition, time_mlp=False, **changes)


# ------------------------------------------------------------------------------------------------------ architecture
@pytest.mark.parametrize(("name", "millions"), [
    ("cifar10-s-2", 44), ("celeba64-s-4", 44), ("coco-s-2", 45), ("coco-s-2-deep", 58), ("imagenet64-m-4", 131),
    ("imagenet64-l-4", 287), ("imagenet256-l-2", 287), ("imagenet256-h-2", 501), ("imagenet512-l-4", 287),
    ("imagenet512-h-4", 501),
])  # fmt: skip
def test_noise_predictors_have_the_published_size(name, millions):
    """Table 1 of the paper; it counts S/2 of MS-COCO without its text projection and positions, 44.7 M with them."""
    with torch.device("meta"):
        counted = sum(p.numel() for p in UVit(PRESETS[name].config).parameters())
    assert round(counted / 1e6) == millions


def test_short_names_are_the_published_sizes():
    pairs = {"s-2": "coco-s-2", "s-2-deep": "coco-s-2-deep", "m": "imagenet64-m-4", "l-2": "imagenet256-l-2",
             "h-2": "imagenet256-h-2"}  # fmt: skip
    assert all(PRESETS[short] is PRESETS[long] for short, long in pairs.items())


def test_gradients_reach_every_parameter():
    model, generator = network(), torch.Generator().manual_seed(1)
    loss = uvit_loss(model, torch.randn(8, 3, 16, 16, generator=generator), torch.arange(8) % 4, generator)
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_condition_changes_the_number_of_tokens_and_nothing_else():
    """Time, condition and patches go through one trunk: with the same positions it is the same trunk of more tokens."""
    conditional, plain = network(), network(replace(SMALL, condition=PRESETS["cifar10-s-2"].config.condition))
    ours, theirs = conditional.state_dict(), plain.state_dict()
    assert ours.keys() - theirs.keys() == {"class_embed.weight"}
    assert theirs.keys() <= ours.keys()
    changed = {name for name in theirs if ours[name].shape != theirs[name].shape}
    assert changed == {"pos_embed"}
    assert len(ours["pos_embed"]) == len(theirs["pos_embed"]) + 1
    with torch.no_grad():  # a class token that attention cannot see leaves the other tokens as they are
        tokens = torch.randn(2, 17, 32, generator=torch.Generator().manual_seed(2))
        assert conditional.trunk(torch.cat((tokens, tokens[:, :1]), dim=1)).shape == (2, 18, 32)


def test_patches_permuted_with_their_positions_come_out_permuted():
    model = network()
    tokens = torch.randn(2, 18, 32, generator=torch.Generator().manual_seed(3))
    order = torch.cat((torch.arange(2), 2 + torch.randperm(16, generator=torch.Generator().manual_seed(4))))
    with torch.no_grad():
        torch.testing.assert_close(model.trunk(tokens[:, order]), model.trunk(tokens)[:, order])


def test_positions_tell_patches_apart():
    model, x = network().eval(), torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    told = (torch.tensor([500.0]), torch.tensor([1]))
    with torch.no_grad():
        model.pos_embed.mul_(20)
        rolled = model(x.roll(4, dims=-1), *told).roll(-4, dims=-1)
        assert (rolled - model(x, *told)).abs().max() > 1e-3


def test_long_skips_carry_shallow_tokens_to_deep_blocks():
    """Where skips pass the deep token on and drop the shallow one, a U-ViT is the ablation; else it is not."""
    skipped, plain = network(), network(replace(SMALL, trunk=replace(TRUNK, long_skips=False)))
    state = {name: tensor for name, tensor in skipped.state_dict().items() if ".skips." not in name}
    plain.load_state_dict(state)
    x, told = torch.randn(2, 3, 16, 16), (torch.tensor([10.0, 900.0]), torch.tensor([0, 3]))
    with torch.no_grad():
        assert (skipped(x, *told) - plain(x, *told)).abs().max() > 1e-4
        for skip in skipped.trunk.skips:
            skip.linear.weight.copy_(torch.cat((torch.eye(32), torch.zeros(32, 32)), dim=1))
            skip.linear.bias.zero_()
        torch.testing.assert_close(skipped(x, *told), plain(x, *told))


def test_the_last_out_block_meets_the_first_in_block():
    """The skips nest: zeroing the first in-block's output changes what the last skip sees, and only that."""
    model, seen = network(), {}
    for name, block in [("in", model.trunk.in_blocks), ("skip", model.trunk.skips)]:
        for i, part in enumerate(block):
            part.register_forward_hook(lambda _, inputs, out, key=(name, i): seen.__setitem__(key, (inputs, out)))
    with torch.no_grad():
        model(torch.randn(1, 3, 16, 16), torch.tensor([5.0]), torch.tensor([2]))
    for deep, shallow in ((0, 1), (1, 0)):
        assert torch.equal(seen["skip", deep][0][1], seen["in", shallow][1])


# ----------------------------------------------------------------------------------------------------------- process
@pytest.mark.parametrize("time", [SMALL.time, DiscreteTime()])
def test_the_network_is_told_the_published_times(time):
    told = []
    model = network(replace(SMALL, time=time))
    model.register_forward_pre_hook(lambda _, inputs: told.append(inputs[1]))
    path = noise_path(model.config)
    with torch.no_grad():
        for t in (path.t_min, path.t_max):
            denoiser(model)(torch.zeros(1, 3, 16, 16), t, torch.tensor([0]))
    expected = [1.0, 1000.0] if isinstance(time, DiscreteTime) else [999 * path.t_min, 999.0]
    assert [float(t) for t in told] == pytest.approx(expected)


def test_one_batch_is_learned_by_heart():
    pictures = torch.stack([torch.full((3, 8, 8), level) for level in (-0.8, 0.0, 0.8)]).repeat(8, 1, 1, 1)
    classes, model = torch.arange(3).repeat(8), network(replace(SMALL, size=8, patch_size=2))
    optimizer, generator = torch.optim.AdamW(model.parameters(), lr=3e-3), torch.Generator().manual_seed(6)
    losses = []
    for _ in range(300):
        loss = uvit_loss(model, pictures, classes, generator, Uniform())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-20:]) < 0.2 * np.mean(losses[:5])
    with torch.no_grad():  # from noise, each class finds its own level
        x = 0.1 * pictures[:3] + 0.995 * torch.randn(3, 3, 8, 8, generator=generator)
        x0 = denoiser(model)(x, float(noise_path(SMALL).time_of_log_snr(-4.6)), classes[:3])
    assert x0.mean((1, 2, 3)).argsort().tolist() == [0, 1, 2]


# ----------------------------------------------------------------------------------------------------------- running
def test_items_do_not_depend_on_their_company():
    model = UVitPipeline(named()).eval()
    both = infer(model, UVitRequest(inputs=("cat face", "drink"), steps=3, seed=4), silent)
    alone = infer(model, UVitRequest(inputs=("Cat-Face",), steps=3, seed=4), silent)
    assert np.abs(both.pictures[0].astype(int) - alone.pictures[0]).max() <= 1  # batches round differently
    assert both.captions == ("cat face", "drink")
    assert both.settings == {"steps": 3, "guidance": 2.0}


def test_guidance_pulls_and_one_is_none():
    torch.manual_seed(0)
    model = UVitPipeline(named()).eval()
    with torch.no_grad():
        model.network.class_embed.weight.mul_(30)
    drawn = [
        infer(model, UVitRequest(inputs=("drink",), steps=4, guidance=scale), silent).pictures for scale in (1.0, 8.0)
    ]
    assert not np.array_equal(*drawn)


def test_progress_is_reported_and_can_stop():
    model, steps = UVitPipeline(named()).eval(), []

    def stop(progress):
        steps.append(progress)
        if progress.step == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        infer(model, UVitRequest(steps=9), stop)
    assert [progress.step for progress in steps] == [1, 2]
    picture = steps[0].preview()
    assert picture.shape == (16, 16, 3)
    assert picture.dtype == np.uint8


@pytest.mark.parametrize(("changes", "words"), [
    ({"steps": 0}, "steps is 0"), ({"count": 0}, "count is 0"), ({"guidance": -1.0}, "guidance is -1"),
    ({"seed": 2**31}, "seed is"), ({"inputs": ("a",) * 200, "count": 2}, "at most 256"),
])  # fmt: skip
def test_bad_requests_say_what_is_allowed(changes, words):
    with pytest.raises(RequestError, match=words):
        UVitRequest(**changes)


def test_sizes_say_what_they_do_not_take():
    plain = UVitPipeline(replace(SMALL, condition=PRESETS["cifar10-s-2"].config.condition)).eval()
    with pytest.raises(RequestError, match="takes no inputs"):
        infer(plain, UVitRequest(inputs=("cat",)), silent)
    with pytest.raises(RequestError, match="guidance is 3.0"):
        infer(plain, UVitRequest(guidance=3.0), silent)
    assert infer(plain, UVitRequest(steps=1), silent).captions is None
    numbered = ClassCondition(classes=10, null=False)
    assert class_id(numbered, "7") == 7
    with pytest.raises(RequestError, match="0 to 9"):
        class_id(numbered, "10")
    with pytest.raises(RequestError, match="cat face"):
        class_id(named().condition, "catface")


def test_texts_need_a_tokenizer():
    text = PRESETS["coco-s-2"].config.text
    config = replace(
        SMALL, condition=TextCondition(dim=32, tokens=6), time_mlp=False,
        text=replace(text, vocabulary=50, context=6, width=32, depth=1, num_heads=2),
    )  # fmt: skip
    with pytest.raises(WeightsError, match="no tokenizer"):
        infer(UVitPipeline(config).eval(), UVitRequest(inputs=("a cat",)), silent)


@pytest.mark.parametrize("changes", [{"size": 15}, {"channels": 4}, {"condition": TextCondition()}])
def test_configs_that_do_not_fit_are_refused(changes):
    with pytest.raises(ValueError, match="size|channels|text"):
        replace(SMALL, **changes)


# ---------------------------------------------------------------------------------------------------------- training
def test_classes_are_the_subgroups_of_the_atlas():
    assert {emoji.subgroup.replace("-", " ") for emoji in load_index()} == set(EMOJI_CLASSES)
    condition, world = named().condition, EmojiWorld(scenes=0.0, size=16)
    for index in range(20):
        sample = world.sample(index)
        expected = load_index()[sample.things[0].id].subgroup.replace("-", " ")
        assert condition.names[class_of(condition, sample)] == expected
    assert class_of(condition, ShapesWorld(size=32).sample(0)) == condition.classes  # no class of these: any


def test_one_in_ten_is_left_out():
    recipe = UVitRecipe(UVitPipeline(named()), EmojiWorld(scenes=0.0, size=16), leave_out=0.1)
    words = recipe.batch(range(1000), torch.Generator().manual_seed(0)).words
    assert 60 < int((words == len(EMOJI_CLASSES)).sum()) < 150
    without = UVitRecipe(UVitPipeline(named()), EmojiWorld(scenes=0.0, size=16), leave_out=0.0)
    assert int((without.batch(range(200), torch.Generator()).words == len(EMOJI_CLASSES)).sum()) == 0


def test_sizes_without_a_null_class_refuse_pictures_of_no_class():
    config = named(autoencoder=None)
    config = replace(config, condition=replace(config.condition, null=False))
    recipe = UVitRecipe(UVitPipeline(config), ShapesWorld(size=32))
    with pytest.raises(RequestError, match="names no class"):
        recipe.batch([0], torch.Generator())


def test_training_lowers_the_loss_and_shows_pictures(tmp_path):
    torch.manual_seed(0)
    recipe = UVitRecipe(UVitPipeline(named()), EmojiWorld(scenes=0.0, size=16))
    losses = []
    settings = FitSettings(steps=60, batch_size=16, learning_rate=2e-3, log_every=10, preview_every=60, ema_decay=0.9)
    fit(recipe, settings, tmp_path, report=lambda progress: losses.append(progress.loss))
    known = [loss for loss in losses if loss is not None]
    assert known[-1] < 0.8 * known[0]
    assert list(tmp_path.rglob("*draws*"))


# --------------------------------------------------------------------------------------------------------- measuring
def test_real_pictures_score_best():
    tiles = pictures_to_tensor(reference_pictures("train", 16)[0])
    order = torch.randperm(len(tiles), generator=torch.Generator().manual_seed(0))[:300]
    emojis = split("train")
    classes = [emojis[i].subgroup.replace("-", " ") for i in order]
    perfect = class_agreement(tiles[order], classes, np.random.default_rng(0))
    assert perfect.value == 100
    assert perfect.control < 30 > perfect.baseline
    real, noise = tiles[order[:150]], torch.rand(150, 3, 16, 16) * 2 - 1
    for name, measure in distances(noise, real, tiles[order[150:]]).items():
        floor = distances(tiles[order[150:]], real, tiles[order[150:]])[name]
        assert floor.value < floor.baseline, name
        assert "real" in name or measure.value > 2 * floor.value, name


def test_an_untrained_network_scores_like_its_control():
    torch.manual_seed(0)
    found = evaluate(UVitPipeline(named()).eval(), 0, 48, silent)
    agreement = found["class of the nearest tile"]
    assert agreement.samples == 48
    assert abs(agreement.value - agreement.control) < 25
