"""DragGAN's room: requests, drags, inversion, the studio's dragger, and training that goes on exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bottega.errors import RequestError
from bottega.networks import StyleGan2Config
from bottega.processes.dragging import Drawn, Given, Worded
from bottega.room import silent
from bottega.systems.image.draggan.config import DragGanConfig
from bottega.systems.image.draggan.inference import DragGanRequest, Following, Space, dragger, files, infer
from bottega.systems.image.draggan.model import DragGan
from bottega.systems.image.draggan.recipe import STAGES, Adversary, DragGanRecipe
from bottega.systems.image.draggan.sampling import GanCanvas, Inversion, draw_styles, invert, tuned
from bottega.training import Precision, fit
from bottega.worlds import PortraitsWorld

CONFIG = DragGanConfig(
    network=StyleGan2Config(
        resolution=32, latent_dim=8, style_dim=16, mapping_layers=2, channel_base=512, channel_max=32, labels=2,
        clamp=None,
    ),
    kinds=("emoji face", "critter"), feature_side=16, dragged_styles=5, rate=0.02, patch=2.0, window=4.0, near=1.0,
)  # fmt: skip


@pytest.fixture
def model() -> DragGan:
    torch.manual_seed(0)
    return DragGan(CONFIG).eval()


def test_a_drag_changes_the_dragged_styles_alone(model):
    result = infer(model, DragGanRequest(handles="10,12 20,20", targets="14,12 20,17", steps=6), silent)
    before = draw_styles(model, 0, 0)[0].numpy()
    assert not np.allclose(result.latent[:5], before[:5])
    assert np.array_equal(result.latent[5:], before[5:])
    assert result.paths.shape == (len(result.frames), 2, 2)
    assert result.paths[0].tolist() == [[10, 12], [20, 20]]
    assert result.frames.shape[1:] == (32, 32, 3)
    assert np.array_equal(result.items()[0], result.frames[-1])
    assert result.animation()[0].shape == (256, 256, 3)


def test_w_moves_all_dragged_styles_together(model):
    request = DragGanRequest(handles="10,12", targets="14,12", steps=3, space=Space.W)
    styles = infer(model, request, silent).latent
    assert all(np.array_equal(styles[0], style) for style in styles[:5])
    free = infer(model, replace(request, space=Space.WPLUS), silent).latent
    assert not np.array_equal(free[0], free[1])


def test_long_drags_keep_some_frames_and_always_the_last(model):
    request = DragGanRequest(handles="4,4", targets="28,28", steps=150, rate=1e-5, tracker=Following.FEATURES)
    result = infer(model, request, silent)
    assert len(result.paths) == 151
    assert 32 <= len(result.frames) <= 65
    assert result.numbers[0] == 0
    assert result.numbers[-1] == 150
    assert not result.arrived


def test_a_mask_reaches_the_drag(model, tmp_path):
    black = tmp_path / "mask.png"
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(black)
    request = DragGanRequest(handles="10,12", targets="16,12", steps=8, tracker=Following.NONE, stillness=1000.0)
    free = infer(model, request, silent).latent
    held = infer(model, replace(request, mask=str(black)), silent).latent
    start = draw_styles(model, 0, 0)[0].numpy()
    assert np.abs(held - start).sum() < np.abs(free - start).sum()
    assert files(replace(request, mask=str(black))) == (str(black),)


def test_the_generator_finds_its_own_pictures(model):
    wanted = infer(model, DragGanRequest(seed=900, kind="critter"), silent).items()[0]
    styles = invert(model, wanted, Inversion(steps=60), None, lambda *_: None)
    canvas = GanCanvas(model.generator, CONFIG, styles)
    made = canvas.view(canvas.latent).picture()
    first = GanCanvas(model.generator, CONFIG, draw_styles(model, 1, 1))
    target = torch.from_numpy(wanted.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    error, other = (made - target).square().mean(), (first.view(first.latent).picture() - target).square().mean()
    assert error < 0.2 * other


def test_tuning_brings_the_generator_nearer_and_leaves_the_old_one(model):
    picture = PortraitsWorld(size=32).sample(1).picture
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    how = Inversion(steps=5, tuning=25)
    styles = invert(model, picture, how, None, lambda *_: None)
    nearer = tuned(model, picture, styles, how, lambda *_: None)
    target = torch.from_numpy(picture.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    with torch.no_grad():
        error = (nearer.synthesis(styles) - target).square().mean()
        assert error < 0.6 * (model.generator.synthesis(styles) - target).square().mean()
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_the_studio_drags_step_by_step(model):
    offered = dragger(model)
    assert (offered.size, offered.kinds, offered.reads) == (32, CONFIG.kinds, False)
    session = offered.begin(Drawn(seed=2, kind="critter"), lambda *_: None)
    session.place([(10, 10)], [(13, 10)])
    assert session.step().picture().shape == (1, 3, 32, 32)
    heard = []
    given = replace(offered, inversion=Inversion(steps=3))
    given.begin(Given(picture=np.zeros((20, 40, 3), np.uint8)), lambda *told: heard.append(told))
    assert heard[-1] == (3, 3, "find the picture")
    with pytest.raises(RequestError, match="no sentences"):
        offered.begin(Worded(text="a cat", seed=0), lambda *_: None)
    with pytest.raises(RequestError, match="emoji face"):
        offered.begin(Drawn(seed=0, kind="dragon"), lambda *_: None)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"handles": "1,2"}, "each handle needs a target"),
        ({"handles": "1;2", "targets": "3,4"}, "handles"),
        ({"steps": 0}, "steps"),
        ({"psi": 2.0}, "psi"),
        ({"rate": 0.0}, "rate"),
        ({"seed": -1}, "seed"),
        ({"inputs": ("a.png", "b.png")}, "one picture"),
    ],
)
def test_requests_that_cannot_be_are_refused(changes, says):
    with pytest.raises(RequestError, match=says):
        DragGanRequest(**changes)


def test_handles_outside_the_picture_are_named(model):
    with pytest.raises(RequestError, match="target is '40,12'"):
        infer(model, DragGanRequest(handles="10,12", targets="40,12"), silent)


def test_training_goes_on_to_the_bit(tmp_path):
    def train(folder: str, *stops: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        recipe = DragGanRecipe(DragGan(CONFIG), PortraitsWorld(size=32), Adversary(penalise_every=2, smooth_every=2))
        settings = replace(
            STAGES[0].settings, batch_size=4, precision=Precision.FP32, compile=False, workers=0, save_every=0,
            preview_every=0, log_every=1,
        )  # fmt: skip
        for stop in stops:
            torch.manual_seed(0)
            recipe = DragGanRecipe(DragGan(CONFIG), PortraitsWorld(size=32), recipe.adversary)
            result = fit(recipe, replace(settings, steps=stop), tmp_path / folder)
        return result.weights()

    straight, halves = train("straight", 6), train("halves", 3, 6)
    assert straight.keys() == halves.keys()
    assert {name for name, value in straight.items() if not torch.equal(value, halves[name])} == set()
    moved = straight["networks.generator.mapping.mean_style"], straight["strength.strength"], straight["path_mean"]
    assert all(float(value.abs().sum()) > 0 for value in moved[::2])
