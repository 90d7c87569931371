"""VDM's room: the noise predictor, what is learned, what is drawn and counted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bottega.errors import RequestError
from bottega.processes.diffusion import Ddim, LearnedVp, SigmoidBound, UniformGrid
from bottega.room import silent
from bottega.systems.diffusion.vdm.config import PRESETS, TINY, VdmConfig
from bottega.systems.diffusion.vdm.evaluation import gaussian_bits
from bottega.systems.diffusion.vdm.inference import Mode, VdmRequest, infer, prior
from bottega.systems.diffusion.vdm.model import ScoreNet, Vdm, waves_of_state, waves_of_time
from bottega.systems.diffusion.vdm.objective import picture_bits
from bottega.systems.diffusion.vdm.recipe import VdmRecipe
from bottega.worlds import EmojiWorld

SMALL = VdmConfig(size=8, width=16, depth=1, groups=4, dropout=0.0, schedule_features=16)


def random_model(config=SMALL, seed=0):
    torch.manual_seed(seed)
    model = Vdm(config).eval()
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.normal_(std=0.1)
    return model


def levels(count=8, size=8, seed=0):
    return torch.randint(256, (count, 3, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def by_hand(width, depth, attention, schedule):
    """Parameters of the authors' `model_vdm.py`, layer by layer, from their shapes; the schedule's are given."""

    def conv(channels_in, channels_out):
        return 9 * channels_in * channels_out + channels_out

    def block(channels_in):
        shortcut = (channels_in + 1) * width if channels_in != width else 0
        return 2 * channels_in + conv(channels_in, width) + 4 * width**2 + 2 * width + conv(width, width) + shortcut

    attend = 2 * width + 4 * (width + 1) * width
    time = (width + 2) * 4 * width + (4 * width + 1) * 4 * width
    down, up = depth * (block(width) + attention * attend), (depth + 1) * (block(2 * width) + attention * attend)
    ends = conv(3 + 2 * 2 * 3, width) + 2 * width + conv(width, 3)
    return time + ends + down + 2 * block(width) + attend + up + schedule


@pytest.mark.parametrize(
    ("name", "schedule"), [("cifar10", 2), ("cifar10-augmented", 3 * 1024 + 3), ("imagenet32", 2), ("imagenet64", 2)]
)
def test_published_sizes_have_the_authors_layers(name, schedule):
    preset = PRESETS[name]
    size = preset.config
    assert preset.parameters == by_hand(size.width, size.depth, size.attention, schedule)


@pytest.mark.parametrize("attention", [False, True])
def test_every_parameter_learns(attention):
    model = random_model(replace(SMALL, attention=attention)).train()
    picture_bits(model, levels(), torch.Generator().manual_seed(0), weighted=True).total.mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_fresh_network_says_that_all_is_noise():
    z, gamma = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([-5.0, 3.0])
    assert torch.equal(ScoreNet(SMALL)(z, gamma), z)


def test_the_network_is_told_gamma_and_the_further_number():
    network = random_model().network
    z = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first = network(z, torch.tensor([-5.0, -5.0]))
        assert not torch.allclose(first, network(z, torch.tensor([-5.0, 2.0])))
        assert torch.allclose(first[0], network(z, torch.tensor([-5.0, 2.0]))[0], atol=1e-5)
        assert not torch.allclose(first, network(z, torch.tensor([-5.0, -5.0]), torch.ones(2)))


def test_waves_have_the_published_frequencies_and_order():
    z = torch.tensor([0.1, -0.3, 0.7]).reshape(1, 3, 1, 1)
    found = waves_of_state(z, (6, 7)).flatten().double().numpy()
    angles = [
        value * 2.0**power * 2 * np.pi for value in np.float32([0.1, -0.3, 0.7]).astype(float) for power in (6, 7)
    ]
    np.testing.assert_allclose(found, [*np.sin(angles), *np.cos(angles)], atol=2e-4)
    time = waves_of_time(torch.tensor([0.25]), 6)[0]
    expected = [250 * 10_000 ** -(i / 2) for i in range(3)]
    np.testing.assert_allclose(time.numpy(), [*np.sin(expected), *np.cos(expected)], atol=1e-4)


def test_one_batch_is_learned():
    torch.manual_seed(0)
    model = Vdm(SMALL)
    recipe = VdmRecipe(model, EmojiWorld(size=16, scenes=0.0))
    batch = recipe.batch(range(4), torch.Generator().manual_seed(0))
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=5e-3), []
    for _ in range(20):
        optimizer.zero_grad()
        loss = picture_bits(model, batch.levels, torch.Generator().manual_seed(1)).total.mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_half_the_pictures_are_mirrored():
    recipe = VdmRecipe(random_model(), EmojiWorld(size=16, scenes=0.0))
    batch = recipe.batch([3] * 60, torch.Generator().manual_seed(0))
    assert batch.levels.dtype is torch.uint8
    same = (batch.levels == batch.levels[0]).flatten(1).all(1)
    assert 15 < same.sum() < 45
    assert torch.equal(batch.levels[~same][0], batch.levels[0].flip(-1))


def test_the_training_weight_is_not_in_the_counted_bits():
    plain, tilted = (random_model(replace(SMALL, **change)) for change in ({}, {"weight": SigmoidBound()}))
    with torch.no_grad():
        counted = [picture_bits(m, levels(), torch.Generator().manual_seed(2)).total for m in (plain, tilted)]
        trained = [
            picture_bits(m, levels(), torch.Generator().manual_seed(2), weighted=True).total for m in (plain, tilted)
        ]
    assert torch.equal(*counted)
    assert (trained[1] < trained[0]).all()


def test_few_discrete_steps_cost_more_bits():
    model = random_model()
    with torch.no_grad():
        few, many = (
            picture_bits(model, levels(64), torch.Generator().manual_seed(0), steps=steps).total.mean()
            for steps in (2, 200)
        )
    assert few > many


def test_drawn_pictures_depend_on_the_seed_alone():
    model, request = random_model(), VdmRequest(count=2, steps=3)
    first, again = (infer(model, request, silent).pictures for _ in range(2))
    assert first.shape == (2, 8, 8, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, infer(model, replace(request, seed=1), silent).pictures)


def test_bits_of_a_file_are_said(tmp_path):
    Image.fromarray(levels(1, 16)[0].permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    request = VdmRequest(inputs=(str(tmp_path / "a.png"),), mode=Mode.BITS, steps=4)
    result = infer(random_model(), request, silent)
    assert "bits per dimension" in result.captions[0]
    assert result.settings["bits per dimension"][0] > 0
    emoji = infer(random_model(replace(SMALL, size=16)), VdmRequest(mode=Mode.BITS, count=2, steps=2), silent)
    assert emoji.pictures.shape == (2, 16, 16, 3)
    with pytest.raises(RequestError, match="no inputs"):
        VdmRequest(inputs=("a.png",))


def test_the_schedule_is_a_picture():
    result = infer(random_model(), VdmRequest(mode=Mode.SCHEDULE), silent)
    assert result.pictures.shape[0] == 1


def test_the_prior_is_the_same_model_on_its_learned_path():
    model = random_model()
    known = prior(model)
    x, t = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.2, 0.9])
    assert isinstance(known.path, LearnedVp)
    with torch.no_grad():
        noise = model.network(x, known.path.gamma(t).float())
        expected = known.prediction.to_x0(
            noise, x, known.path.alpha(t).float().reshape(-1, 1, 1, 1), known.path.sigma(t).float().reshape(-1, 1, 1, 1)
        )
        torch.testing.assert_close(known.denoiser()(x, t), expected)
        made = Ddim()(known.denoiser(), x, UniformGrid(4)(known.path), known.path)
    assert torch.isfinite(made).all()


def test_the_baseline_knows_normal_pictures():
    generator = torch.Generator().manual_seed(0)
    made = (128 + 20 * torch.randn(4000, 3, 2, 2, generator=generator)).round().clamp(0, 255).to(torch.uint8)
    entropy = np.log2(20 * np.sqrt(2 * np.pi * np.e))
    assert gaussian_bits(made[:2000], made[2000:]) == pytest.approx(entropy, abs=0.03)


@pytest.mark.parametrize("change", [{"width": 30}, {"dropout": 1.0}, {"depth": 0}])
def test_impossible_sizes_are_refused(change):
    with pytest.raises(ValueError, match="width|dropout"):
        replace(TINY, **change)
