"""What MDT's paper claims of its parts, and what the room promises."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from bottega.data import pictures_to_tensor
from bottega.errors import Cancelled, RequestError
from bottega.networks import Dit, DitConfig
from bottega.processes.diffusion import Epsilon, MinSnr, Uniform
from bottega.room import silent
from bottega.systems.diffusion.mdt.config import PRESETS, MacroDesign, MaskedDesign, MdtConfig, PlainDesign
from bottega.systems.diffusion.mdt.evaluation import FACES, evaluate, mirror_likeness, part_consistency, two_eyes
from bottega.systems.diffusion.mdt.inference import MdtRequest, Sampler, infer, prior
from bottega.systems.diffusion.mdt.model import Masking, Mdt, MdtPipeline, RelativePositions
from bottega.systems.diffusion.mdt.objective import PATH, draw_masking, mdt_losses, published_weighting
from bottega.systems.diffusion.mdt.recipe import MdtRecipe
from bottega.training import FitSettings, fit
from bottega.worlds import EmojiWorld, ShapesWorld
from bottega.worlds.emoji import EMOJI_CLASSES, emoji_class, reference_pictures, split

TRUNK = DitConfig(size=16, channels=3, patch_size=4, width=32, depth=4, num_heads=2, classes=5)
DESIGNS = {"dit": PlainDesign(), "mdt": MaskedDesign(), "mdtv2": MacroDesign(decode_layers=2)}


def randomised(design, std=0.1, trunk=TRUNK):
    torch.manual_seed(0)
    pipeline = MdtPipeline(MdtConfig(trunk=trunk, design=design)).eval()
    with torch.no_grad():
        for parameter in pipeline.parameters():
            parameter.copy_(std * torch.randn_like(parameter))
    return pipeline


def asked(count=3):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 3, 16, 16, generator=generator)
    return x, torch.linspace(0, 999, count), torch.arange(count) % 6


def masking(ratio=0.4, batch=3):
    return Masking.draw(batch, TRUNK.patches, ratio, torch.Generator().manual_seed(2))


# ------------------------------------------------------------------------------------------------------------ masking
def test_restore_undoes_the_shuffle():
    found = masking()
    assert found.kept.shape == (3, 9)
    assert found.hidden.sum(1).tolist() == [7, 7, 7]
    for row in range(3):
        assert not found.hidden[row, found.kept[row]].any()
        order = torch.cat((found.kept[row], found.hidden[row].nonzero().flatten()))
        assert sorted(order.tolist()) == list(range(16))
        assert torch.equal(found.restore[row][found.kept[row]], torch.arange(9))


@pytest.mark.parametrize("design", [MaskedDesign(), MacroDesign(decode_layers=2)])
def test_shares_of_hidden_tokens(design):
    network = randomised(design, trunk=replace(TRUNK, size=80)).network
    drawn = [draw_masking(network, 1, torch.Generator().manual_seed(seed)) for seed in range(200)]
    hidden = np.array([one.hidden.float().mean().item() for one in drawn])
    low, high = design.ratios
    assert hidden.min() >= low - 1e-6
    assert hidden.max() <= high + 1 / 400 + 1e-6
    if low == high:
        assert np.ptp(hidden) == 0
    else:
        assert np.abs(np.quantile(hidden, [0.25, 0.5, 0.75]) - (0.35, 0.4, 0.45)).max() < 0.03
    places = torch.stack([one.hidden[0] for one in drawn]).float().mean(0)
    assert float(places.std()) < 0.06  # every place alike


@torch.no_grad()
def test_visible_tokens_pass_the_interpolater_unchanged():
    network, found = randomised(MacroDesign(decode_layers=2)).network, masking()
    tokens, hint = torch.randn(3, 9, 32), torch.randn(3, 32)
    positions = network.decoder_pos_embed
    whole = network.interpolater(tokens, hint, found, positions)
    for row in range(3):
        kept = found.kept[row]
        torch.testing.assert_close(whole[row, kept], tokens[row] + positions[kept], rtol=0, atol=0)
    assert (whole[found.hidden] - (network.interpolater.mask_token + positions).expand(3, -1, -1)[found.hidden]).any()


@torch.no_grad()
def test_the_interpolater_has_no_part_in_drawing():
    network, given = randomised(MaskedDesign()).network, asked()
    before, masked_before = network(*given), network(*given, masking())
    for parameter in network.interpolater.parameters():
        parameter.add_(1.0)
    assert torch.equal(network(*given), before)
    assert (network(*given, masking()) - masked_before).abs().max() > 1e-3


@torch.no_grad()
def test_hidden_tokens_are_unseen_by_the_encoder():
    """MDT without shortcuts from the input: what is hidden cannot change anything."""
    network, (x, time, label), found = randomised(MaskedDesign()).network, asked(), masking()
    other = x.clone()
    row, column = divmod(int(found.hidden[0].nonzero()[0]), 4)
    other[0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1
    torch.testing.assert_close(network(x, time, label, found), network(other, time, label, found), rtol=0, atol=0)
    assert (network(x, time, label) - network(other, time, label)).abs().max() > 1e-3


@torch.no_grad()
def test_without_masks_and_relative_positions_mdt_is_dit():
    mdt, given = randomised(MaskedDesign()).network, asked()
    dit = Dit(TRUNK).eval()
    blocks = [part.block for part in (*mdt.shallow, *mdt.decoder)]
    for ours, theirs in zip(dit.blocks, blocks, strict=True):
        ours.load_state_dict(theirs.state_dict())
    for part in ("patch_embed", "told", "head"):
        getattr(dit, part).load_state_dict(getattr(mdt, part).state_dict())
    for block in (*mdt.shallow, *mdt.decoder):
        block.positions.table.zero_()
    fresh = Mdt(TRUNK, MaskedDesign())
    mdt.pos_embed.copy_(fresh.pos_embed)
    mdt.decoder_pos_embed.zero_()
    torch.testing.assert_close(mdt(*given), dit(*given), rtol=1e-5, atol=1e-5)


def test_relative_positions_depend_on_the_offset_alone():
    torch.manual_seed(0)
    bias = RelativePositions(4, 2)
    whole = bias()
    assert whole.shape == (2, 16, 16)
    assert torch.equal(whole[:, 0, 5], whole[:, 5, 10])
    assert not torch.equal(whole[:, 0, 5], whole[:, 5, 0])
    kept = torch.tensor([[3, 9, 0]])
    assert torch.equal(bias(kept)[0], whole[:, kept[0]][:, :, kept[0]])


# ------------------------------------------------------------------------------------------------------------ training
@pytest.mark.parametrize("name", DESIGNS)
def test_every_parameter_learns(name):
    network = randomised(DESIGNS[name]).network.train()
    x, _, label = asked(8)
    losses = mdt_losses(network, x, label, torch.Generator().manual_seed(0), Uniform())
    assert len(losses) == (3 if name == "dit" else 5)
    losses["loss"].backward()
    for title, parameter in network.named_parameters():
        assert parameter.grad is not None, title
        assert parameter.grad.any(), title


def test_the_masked_pass_sees_the_same_noise_and_the_bound_moves_the_variance_alone():
    network = randomised(MaskedDesign()).network
    x, _, label = asked(8)
    losses = mdt_losses(network, x, label, torch.Generator().manual_seed(0), Uniform())
    gradient = torch.autograd.grad(losses["bound"], network.head.linear.bias, retain_graph=True)[0]
    halves = gradient.reshape(16, 6).abs().sum(0)  # patches' pixels, channels fastest
    assert not halves[:3].any()
    assert halves[3:].all()
    assert isinstance(published_weighting(MacroDesign()), MinSnr)
    assert isinstance(published_weighting(MaskedDesign()), Uniform)


def test_one_batch_is_learned():
    torch.manual_seed(0)
    network = MdtPipeline(MdtConfig(trunk=TRUNK, design=MacroDesign(decode_layers=2))).network
    x, _, label = asked(8)
    x = x.clamp(-1, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    history = []
    for step in range(40):
        losses = mdt_losses(network, x, label, torch.Generator().manual_seed(step % 2), Uniform())
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        history.append({name: float(loss.detach()) for name, loss in losses.items()})
    for name in ("noise", "noise, masked"):
        assert history[-1][name] < 0.6 * history[0][name], name


def test_recipe_trains_and_leaves_classes_out(tmp_path):
    pipeline = MdtPipeline(PRESETS["tiny"].config)
    recipe = MdtRecipe(pipeline, EmojiWorld(scenes=0.0, size=32))
    batch = recipe.batch(range(600), torch.Generator().manual_seed(0))
    assert batch.pictures.shape == (600, 3, 32, 32)
    assert 30 < int((batch.labels == len(EMOJI_CLASSES)).sum()) < 95
    always = MdtRecipe(pipeline, EmojiWorld(scenes=0.0, size=32), leave_out=0.0)
    assert int((always.batch(range(50), torch.Generator()).labels == len(EMOJI_CLASSES)).sum()) == 0
    foreign = MdtRecipe(pipeline, ShapesWorld(size=32))
    assert foreign.batch(range(20), torch.Generator()).labels.tolist() == [len(EMOJI_CLASSES)] * 20
    before = copy.deepcopy(pipeline.state_dict())
    fit(recipe, FitSettings(steps=2, batch_size=4), tmp_path)
    assert any(not torch.equal(before[name], value) for name, value in pipeline.state_dict().items())


# ------------------------------------------------------------------------------------------------------------- drawing
def test_both_samplers_and_what_they_depend_on():
    pipeline = randomised(MacroDesign(decode_layers=2), std=0.05)
    request = MdtRequest(inputs=("1", "3"), steps=4, seed=5)
    quick = infer(pipeline, request, silent)
    assert quick.pictures.shape == (2, 16, 16, 3)
    assert quick.captions == ("class 1", "class 3")
    alone = infer(pipeline, MdtRequest(inputs=("1",), steps=4, seed=5), silent)
    assert np.abs(quick.pictures[0].astype(int) - alone.pictures[0]).max() <= 1
    ancestral = infer(pipeline, replace(request, sampler=Sampler.ANCESTRAL), silent)
    assert not np.array_equal(ancestral.pictures, quick.pictures)
    again = infer(pipeline, replace(request, sampler=Sampler.ANCESTRAL), silent)
    assert np.array_equal(ancestral.pictures, again.pictures)
    by_chance = infer(pipeline, MdtRequest(count=3, steps=2), silent)
    assert len(by_chance.items()) == 3


def test_drawing_can_be_stopped_and_shown():
    pipeline, seen = randomised(MaskedDesign()), []

    def report(progress):
        seen.append(progress.preview())
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        infer(pipeline, MdtRequest(steps=3), report)
    assert seen[0].shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("wrong", "names"), [({"steps": 0}, "steps"), ({"power": 0.0}, "power"), ({"guidance": 99.0}, "guidance"),
                         ({"count": 300}, "count"), ({"seed": -1}, "seed")],
)  # fmt: skip
def test_wrong_requests_are_refused(wrong, names):
    with pytest.raises(RequestError, match=names):
        MdtRequest(**wrong)


def test_unknown_classes_are_refused():
    with pytest.raises(RequestError, match="cat face"):
        infer(randomised_tiny(), MdtRequest(inputs=("catface",)), silent)


def randomised_tiny():
    return MdtPipeline(PRESETS["tiny"].config).eval()


@torch.no_grad()
def test_the_prior_is_the_network():
    pipeline = randomised_tiny()
    offered = prior(pipeline)
    assert offered.prediction == Epsilon()
    assert offered.path is PATH
    rows = offered.conditions(("cat face", "")).tolist()
    assert rows == [EMOJI_CLASSES.index("cat face"), len(EMOJI_CLASSES)]
    sample = EmojiWorld(scenes=0.0, size=32).sample(0)
    assert offered.input_of(sample) in EMOJI_CLASSES
    assert offered.input_of(ShapesWorld(size=32).sample(0)) == ""
    x = torch.randn(2, *offered.shape)
    expected = pipeline.network(x, torch.tensor([7.0, 7.0]), torch.tensor(rows))[:, :3]
    assert torch.equal(offered.network(x, torch.tensor([7.0, 7.0]), torch.tensor(rows)), expected)
    assert offered.guided(3.0)(x, 7.0, torch.tensor(rows)).shape == x.shape


# ---------------------------------------------------------------------------------------------------------- evaluation
def test_the_score_of_parts_tells_faces_from_others():
    emojis, tiles = split("train"), pictures_to_tensor(reference_pictures("train", 32)[0])
    is_face = torch.tensor([emoji_class(emoji) in FACES for emoji in emojis])
    faces = tiles[is_face]
    assert two_eyes(faces).mean() > 0.65
    assert two_eyes(tiles[~is_face]).mean() < 0.2
    noise = torch.randn(200, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert two_eyes(noise).mean() < 0.05
    torch.testing.assert_close(mirror_likeness((faces + faces.flip(3)) / 2), torch.ones(len(faces)), rtol=0, atol=1e-5)
    found = part_consistency(faces, np.random.default_rng(0))
    for measure in found.values():
        assert measure.value == pytest.approx(measure.baseline)
        assert measure.control is not None
        assert measure.control < 0.85 * measure.value


def test_evaluation_runs_on_an_untrained_network():
    found = evaluate(randomised_tiny(), 0, 2, silent)
    assert {"class of the nearest tile", "part consistency: two eyes"} < found.keys()
    assert all(np.isfinite(measure.value) for measure in found.values())


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="even"):
        MdtConfig(trunk=TRUNK, design=MacroDesign(decode_layers=1))
    with pytest.raises(ValueError, match="mask ratios"):
        MacroDesign(least_ratio=0.6)
    with pytest.raises(ValueError, match="channels"):
        MdtConfig(trunk=DitConfig(), design=PlainDesign())
