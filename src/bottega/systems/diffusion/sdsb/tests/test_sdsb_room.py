"""Simplified DSB's room: the authors' network, epochs in turn, points and pictures carried over.

The golden numbers were made with `ResMLP` of the authors' `util/network.py` (torch 2.13, CPU):

    def fill(model, std, seed=0):
        generator = torch.Generator().manual_seed(seed)
        for name, p in sorted(model.state_dict().items()):
            p.data.copy_(std * torch.randn(p.shape, generator=generator))
    model = ResMLP(dim_in=2, dim_out=2, dim_hidden=8, num_layers=5, n_cond=16)
    fill(model, 0.4)
    x, t = torch.randn(3, 2, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 7, 15])
    print(model(x, t).flatten().tolist())
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bottega.errors import FileError, RequestError
from bottega.networks import AutoencoderKlConfig, DiffusionVitConfig
from bottega.processes.bridge import Move
from bottega.room import Checkpoint, silent
from bottega.systems.diffusion.sdsb.checkpoints import network_table, read_authors, write_authors
from bottega.systems.diffusion.sdsb.config import (
    PRESETS,
    TINY,
    TONE,
    FolderEnd,
    NoiseEnd,
    PointsEnd,
    ResMlpConfig,
    ToneEnd,
)
from bottega.systems.diffusion.sdsb.evaluation import evaluate, sliced_distance
from bottega.systems.diffusion.sdsb.inference import Direction, SdsbRequest, infer, tone_pictures
from bottega.systems.diffusion.sdsb.model import ResMlp, Sdsb, parameters_of
from bottega.systems.diffusion.sdsb.objective import bridge_loss
from bottega.systems.diffusion.sdsb.recipe import EPOCHS, BundledEnds, FolderEnds, SdsbRecipe
from bottega.training import FitSettings, fit
from bottega.weights import load_into, to_ours, to_theirs
from bottega.worlds import EmojiWorld
from bottega.worlds.planar import Planar, planar_points

GOLDEN = [-0.8585509061813354, -0.3907841444015503, -0.6710636615753174, -0.6851987838745117, -0.5635278224945068,
          -0.042019426822662354]  # fmt: skip
SMALL = replace(TINY, network=ResMlpConfig(width=8))
VIT = DiffusionVitConfig(size=16, channels=3, patch_size=8, width=16, depth=1, num_heads=2, times=16)
PICTURES = replace(TONE, network=VIT)


def bridge(config=SMALL, seed=0):
    torch.manual_seed(seed)
    return Sdsb(config).eval()


def ends(count=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (planar_points(kind, count, generator) for kind in (Planar.MOONS, Planar.CHECKERBOARD))


def test_the_network_gives_the_authors_numbers():
    network, generator = ResMlp(SMALL.network), torch.Generator().manual_seed(0)
    theirs = to_theirs(network_table(SMALL), network.state_dict())
    filled = {name: 0.4 * torch.randn(value.shape, generator=generator) for name, value in sorted(theirs.items())}
    load_into(network, to_ours(network_table(SMALL), filled), source="golden")
    x, t = torch.randn(3, 2, generator=torch.Generator().manual_seed(1)), torch.tensor([0.0, 7.0, 15.0])
    with torch.no_grad():
        assert network(x, t).flatten().tolist() == pytest.approx(GOLDEN, rel=1e-4, abs=1e-5)
    assert {"net.0.dense.weight", "net.2.norm.emb.weight", "net.3.norm.linear.bias", "net.4.bias"} <= set(theirs)
    filled["net.1.norm.emb.weight"], filled["net.2.norm.emb.weight"] = (
        filled["net.2.norm.emb.weight"], filled["net.1.norm.emb.weight"],
    )  # fmt: skip
    load_into(network, to_ours(network_table(SMALL), filled), source="swapped")
    with torch.no_grad():
        assert network(x, t).flatten().tolist() != pytest.approx(GOLDEN, rel=1e-2)


@pytest.mark.parametrize("name", ["points-dsb", "points-simplified", "points-terminal", "points-flow"])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_an_epoch_trains_one_direction(name, epoch):
    config = replace(PRESETS[name].config, network=SMALL.network)
    model = bridge(config)
    loss, energy = bridge_loss(model, epoch, *ends(), torch.Generator().manual_seed(0))
    loss.backward()
    trained = epoch % 2 == 0
    for parameter in parameters_of(model, there=trained):
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
    assert all(parameter.grad is None for parameter in parameters_of(model, there=not trained))
    assert energy > 0


def test_the_first_epoch_does_not_ask_the_untrained_network():
    first, second = ends()
    losses = []
    for scale in (1.0, 3.0):
        model = bridge()
        with torch.no_grad():
            for parameter in model.back.parameters():
                parameter.mul_(scale)
        losses.append(
            [bridge_loss(model, epoch, first, second, torch.Generator().manual_seed(0))[0].item() for epoch in (0, 2)]
        )
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


def test_training_goes_through_all_epochs_and_moves_both_networks(tmp_path):
    model = bridge()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(SdsbRecipe(model, BundledEnds()), FitSettings(steps=EPOCHS, batch_size=8, log_every=1), tmp_path)
    for part in ("there.", "back."):
        assert any(not torch.equal(before[n], v) for n, v in model.state_dict().items() if n.startswith(part))


def test_a_flow_is_learned_from_a_batch():
    torch.manual_seed(0)
    model = Sdsb(replace(SMALL, network=ResMlpConfig(width=32)))
    optimizer, losses = torch.optim.AdamW(parameters_of(model, there=True), lr=5e-3), []
    first, second = ends(64)
    for _ in range(80):
        optimizer.zero_grad()
        loss, _ = bridge_loss(model, 0, first, second, torch.Generator().manual_seed(0))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]


def test_points_come_as_an_animation():
    model, steps = bridge(), []
    result = infer(model, SdsbRequest(points=30), steps.append)
    assert len(result.pictures) == len(result.captions) == TINY.steps + 1
    assert [progress.step for progress in steps] == list(range(1, TINY.steps + 1))
    back = infer(model, SdsbRequest(points=30, direction=Direction.BACK), silent)
    assert not np.array_equal(result.pictures[0], back.pictures[0])
    assert np.array_equal(result.pictures, infer(model, SdsbRequest(points=30), silent).pictures)
    with pytest.raises(RequestError, match="no inputs"):
        infer(model, SdsbRequest(inputs=("a.png",)), silent)


def test_pictures_are_translated_and_their_stages_shown(tmp_path):
    Image.fromarray(np.full((20, 30, 3), 200, dtype=np.uint8)).save(tmp_path / "a.png")
    model = bridge(PICTURES)
    given = infer(model, SdsbRequest(inputs=(str(tmp_path / "a.png"),)), silent)
    assert given.pictures.shape == (1, 16, 16, 3)
    assert given.captions == ("a.png, there",)
    assert infer(model, SdsbRequest(count=3), silent).pictures.shape == (3, 16, 16, 3)
    stages = infer(model, SdsbRequest(count=1, stages=True), silent)
    assert len(stages.pictures) == PICTURES.steps + 1
    tile = ((tone_pictures("light", 16) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)
    assert (stages.pictures[0] == tile).all(axis=(1, 2, 3)).any()  # the way starts with a real tile
    with pytest.raises(RequestError, match="cats"):
        infer(bridge(replace(PICTURES, first=FolderEnd(what="cats"))), SdsbRequest(), silent)


def test_a_folder_gives_both_ends():
    world = EmojiWorld(size=16, scenes=0.0)
    recipe = SdsbRecipe(bridge(PICTURES), FolderEnds(world, world))
    batch = recipe.batch([1, 2, 3], torch.Generator().manual_seed(0))
    assert batch.first.shape == batch.second.shape == (3, 3, 16, 16)
    assert not torch.equal(batch.first, batch.second)
    own = SdsbRecipe(bridge(PICTURES), BundledEnds()).batch([1, 2, 3], torch.Generator().manual_seed(0))
    assert own.first.mean() > own.second.mean()  # light is lighter than dark


def test_figures_tell_arrival_from_absence():
    first, second = ends(2000)
    _, again = ends(2000, seed=1)
    assert sliced_distance(again, second, 0) < 0.3 * sliced_distance(first, second, 0)
    shifted = sliced_distance(first, first + torch.tensor([3.0, 4.0]), 0)
    assert shifted == pytest.approx(5 / np.sqrt(2), rel=0.1)
    found = evaluate(bridge(), 0, 40, silent)
    arrived = found["sliced Wasserstein distance to the other end, there"]
    assert arrived.baseline > 0
    assert arrived.control > 0
    tones = evaluate(bridge(PICTURES), 0, 4, silent)["skin tone of the nearest tile, back"]
    assert tones.baseline == 20.0
    assert tones.control < 50.0


def test_the_authors_file_holds_both_directions(tmp_path):
    model = bridge(PICTURES)
    written = Checkpoint(config=PICTURES, tensors=model.state_dict())
    write_authors(written, tmp_path / "bridge.safetensors")
    theirs = {
        f"{part}_model": {
            f"network.module.{name}": value
            for name, value in to_theirs(network_table(PICTURES), getattr(model, ours).state_dict()).items()
        }
        for ours, part in (("there", "forward"), ("back", "backward"))
    }
    torch.save(theirs, tmp_path / "published.pth")
    for file in ("bridge.safetensors", "published.pth"):
        read = read_authors(tmp_path / file, PICTURES)
        assert read.tensors.keys() == model.state_dict().keys()
        assert all(torch.equal(read.tensors[name], value) for name, value in model.state_dict().items())
    with pytest.raises(RequestError, match="preset"):
        read_authors(tmp_path / "published.pth", None)


def test_latent_sizes_come_in_a_folder(tmp_path):
    latents = AutoencoderKlConfig(channels=(8, 16), blocks_per_stage=1, groups=4)
    network = replace(VIT, channels=4, size=8)
    config = replace(PICTURES, network=network, autoencoder=latents)
    model = bridge(config)
    write_authors(Checkpoint(config=config, tensors=model.state_dict()), tmp_path / "folder")
    read = read_authors(tmp_path / "folder", config)
    assert all(torch.equal(read.tensors[name], value) for name, value in model.state_dict().items())
    with pytest.raises(FileError, match="folder"):
        read_authors(tmp_path / "folder" / "bridge.safetensors", config)


@pytest.mark.parametrize(
    "change",
    [{"simplified": False}, {"steps": 18}, {"network": VIT}, {"first": NoiseEnd(), "second": NoiseEnd()}],
)
def test_impossible_sizes_are_refused(change):
    with pytest.raises(ValueError, match="target|steps|points"):
        replace(TINY, **change)
    with pytest.raises(ValueError, match="tone"):
        ToneEnd(tone="green")


def test_published_sizes_are_the_published_ones():
    afhq, celeba = PRESETS["afhq256"].config, PRESETS["celeba64"].config
    assert (afhq.picture_size, afhq.network.width, afhq.network.blocks, afhq.steps) == (256, 96, 4, 100)
    assert (celeba.network.width, celeba.network.depth, celeba.network.num_heads) == (512, 13, 8)
    assert (celeba.move, PRESETS["points-flow"].config.move) == (Move.TERMINAL, Move.FLOW)
    assert PRESETS["tiny"].config.first == PointsEnd(kind=Planar.MOONS)
    assert PRESETS["tiny"].config.gammas.values[:2] == pytest.approx((1e-4, 1e-4 + 9e-4 / 7))
