"""What NCSN claims: scores at all levels, annealing that finds the modes' weights, pictures completed and turned."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bottega.errors import RequestError
from bottega.processes.diffusion import (
    AnnealedLangevin,
    Denoised,
    DpmSolverPp2m,
    Edm,
    GaussianMixture,
    NoiseLevels,
    Score,
    denoising_score_matching,
    geometric_levels,
    langevin_dynamics,
)
from bottega.room import silent
from bottega.systems.diffusion.ncsn.config import PRESETS, NcsnConfig, Stage
from bottega.systems.diffusion.ncsn.evaluation import evaluate
from bottega.systems.diffusion.ncsn.inference import ROW, Mode, NcsnRequest, Side, draw, infer, plan
from bottega.systems.diffusion.ncsn.model import Ncsn
from bottega.systems.diffusion.ncsn.objective import ncsn_loss
from bottega.systems.diffusion.ncsn.recipe import NcsnRecipe
from bottega.systems.diffusion.ncsn.sampling import Known, anneal, from_pictures, prior, to_pictures
from bottega.training import FitSettings, draw_generators, fit
from bottega.worlds import EmojiWorld

LEVELS = NoiseLevels(first=5.0, last=0.05, count=6, step=5e-4, steps_per_level=2)
STAGES = (Stage(widen=1), Stage(widen=2, halve=True), Stage(widen=2, dilation=2))
V2 = NcsnConfig(size=8, width=4, stages=STAGES, levels=LEVELS)
V1 = replace(V2, conditional=True, denoise=False, channels=1)


def build(config):
    torch.manual_seed(0)
    return Ncsn(config).eval()


# --------------------------------------------------------------------------------------------------------- the network
@pytest.mark.parametrize("config", [V1, V2])
def test_gradients_reach_every_parameter(config):
    model = build(config)
    pictures = torch.rand(16, config.channels, 8, 8)
    ncsn_loss(model, pictures, torch.Generator().manual_seed(0)).backward()
    lost = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not lost
    assert model(pictures, torch.zeros(16, dtype=torch.long)).shape == pictures.shape


def test_the_second_version_divides_by_sigma():
    """Technique 3: one network for all levels, known or not."""
    model, x = build(V2), torch.rand(2, 3, 8, 8)
    low, high = (model(x, torch.full((2,), i)) * model.sigmas[i] for i in (0, 5))
    torch.testing.assert_close(low, high)
    unseen = model.at(x, torch.tensor([0.3, 0.7]))
    torch.testing.assert_close(unseen * torch.tensor([0.3, 0.7]).view(2, 1, 1, 1), low)


def test_the_first_version_knows_its_levels():
    model, x = build(V1), torch.rand(2, 1, 8, 8)
    low, high = (model(x, torch.full((2,), i)) for i in (0, 5))
    assert not torch.allclose(low, high)
    torch.testing.assert_close(model.at(x, model.sigmas[[0, 5]]), torch.stack((low[0], high[1])))
    between = model.at(x, model.sigmas[[2, 2]] * 1.1)
    torch.testing.assert_close(between, model(x, torch.tensor([2, 2])) / 1.1)


@pytest.mark.parametrize("changes", [{"size": 9}, {"channels": 2}, {"width": 1}, {"stages": STAGES[1:]}])
def test_configs_that_do_not_fit_are_refused(changes):
    with pytest.raises(RequestError):
        replace(V2, **changes)


def test_the_tiny_levels_follow_the_rules():
    """Rules 1, 2 and 4 on the emoji themselves."""
    from bottega.processes.diffusion import ncsnv2_levels
    from bottega.worlds.emoji import reference_pictures

    tiny = PRESETS["tiny"].config
    pictures = torch.from_numpy(reference_pictures("train", tiny.size)[0]).float() / 255
    found = ncsnv2_levels(pictures, steps_per_level=tiny.levels.steps_per_level)
    assert tiny.levels.first == pytest.approx(found.first, rel=0.01)
    assert tiny.levels.count == found.count
    assert tiny.levels.step == pytest.approx(found.step, rel=0.01)


# ------------------------------------------------------------------------------------------------------------ sampling
def weight_of_the_large_mode(x):
    return float((x.sum(1) > 0).double().mean())


class PlaneScore(nn.Module):
    """A small network for scores in the plane at any noise level, divided by sigma as in technique 3."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))

    def forward(self, x, sigma, condition=None):
        scale = (1 + sigma**2).sqrt()[:, None]
        return self.layers(torch.cat((x / (5 * scale), sigma.log()[:, None] / 3), dim=1)) / sigma[:, None] - x / (
            26 + sigma[:, None] ** 2
        )


def test_a_trained_network_recovers_the_weights_only_when_annealed():
    torch.manual_seed(0)
    mixture, generator = GaussianMixture.two_modes(), torch.Generator().manual_seed(0)
    sigmas = torch.tensor(geometric_levels(20.0, 0.1, 10))
    network = PlaneScore()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    steps = 1200
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    data = mixture.sample(512 * 40, generator).float()
    for step in range(steps):
        x = data[step % 40 * 512 :][:512]
        sigma = sigmas[torch.randint(10, (512,), generator=generator)]
        noise = torch.randn(x.shape, generator=generator)
        loss = denoising_score_matching(lambda y, s=sigma: network(y, s), x, sigma, noise, anneal_power=2.0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    path = Edm(sigma_min=0.1, sigma_max=20.0)
    denoiser = Denoised(network, path, Score())
    start = 16 * torch.rand(2000, 2, generator=generator) - 8
    with torch.no_grad():
        annealed = AnnealedLangevin(step=0.2 * 0.1**2, steps_per_level=40)(
            denoiser, start, (*sigmas.tolist(), 0.0), path, generator=generator
        )
        last = torch.full((2000,), 0.1)
        plain = langevin_dynamics(lambda y: network(y, last), start, step=0.05, steps=400, generator=generator)
    assert abs(weight_of_the_large_mode(annealed) - 0.8) < 0.07
    assert abs(weight_of_the_large_mode(plain) - 0.5) < 0.12
    assert (annealed.abs() - 5).abs().median() < 1.0


def test_items_depend_on_seed_and_place_alone():
    model = build(V2)
    four = draw(model, NcsnRequest(count=4, seed=3))
    torch.testing.assert_close(draw(model, NcsnRequest(count=2, seed=3)), four[:2])
    assert not torch.allclose(draw(model, NcsnRequest(count=2, seed=4)), four[:2])


@torch.no_grad()
def test_half_precision_ends_at_the_network():
    """States stay in float32; only the network computes in bfloat16."""
    whole, half = build(V2), build(V2).to(torch.bfloat16)
    request = NcsnRequest(levels=3, steps_per_level=1)
    drawn = draw(half, request)
    assert drawn.dtype == torch.float32
    assert float((drawn - draw(whole, request)).abs().mean()) < 0.05 * float(drawn.abs().mean())


def test_the_rooms_loop_is_the_cores_solver():
    """With the same noise: a batch of one, whose stream also gave the start."""
    model = build(V2)
    source, (sigmas, solver) = prior(model), plan(model, NcsnRequest())

    (stream,) = draw_generators(7, 1)
    start = torch.rand(source.shape, generator=stream)[None]
    with torch.no_grad():
        expected = solver(source.denoiser(), start, (*sigmas, 0.0), source.path, generator=stream)
        torch.testing.assert_close(draw(model, NcsnRequest(seed=7)), expected)


def test_a_row_runs_from_one_sample_to_another():
    """Its first picture is the one that the same seed draws; neighbours are nearer than the ends."""
    model = build(V2)
    row = draw(model, NcsnRequest(mode=Mode.INTERPOLATE, count=2, seed=5))
    assert len(row) == 2 * ROW
    torch.testing.assert_close(row[[0, ROW]], draw(model, NcsnRequest(count=2, seed=5)))
    first = row[:ROW].flatten(1)
    assert (first[1:] - first[:-1]).norm(dim=1).max() < (first[0] - first[-1]).norm()


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("config", [V1, V2])
def test_completion_keeps_its_half(side, config, tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    if config.channels == 1:
        picture = np.repeat(picture[..., :1], 3, axis=2)
    Image.fromarray(picture).save(tmp_path / "half.png")
    request = NcsnRequest(mode=Mode.INPAINT, inputs=(str(tmp_path / "half.png"),), keep=side, count=2)
    made = infer(build(config), request, silent).pictures
    rows = slice(0, 4) if side is Side.TOP else slice(4, 8) if side is Side.BOTTOM else slice(None)
    columns = slice(0, 4) if side is Side.LEFT else slice(4, 8) if side is Side.RIGHT else slice(None)
    assert np.abs(made[:, rows, columns].astype(int) - picture[rows, columns]).max() <= 1
    assert np.abs(made.astype(int) - picture).max() > 10


def test_what_is_completed_follows_what_is_known():
    """Two numbers of correlation 0.9 whose first is known to be 2: the second must come near 1.8, not 0."""
    covariance = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]], dtype=torch.float64)
    pair = GaussianMixture(
        weights=torch.ones(1, dtype=torch.float64), means=torch.zeros(1, 2).double(), covariances=covariance
    )
    path, generator = Edm(sigma_min=0.05, sigma_max=10.0), torch.Generator().manual_seed(0)
    known = Known(pictures=torch.full((400, 2), 2.0, dtype=torch.float64), mask=torch.tensor([True, False]))
    made = anneal(
        pair.denoiser(path), torch.zeros(400, 2, dtype=torch.float64), geometric_levels(10.0, 0.05, 20),
        AnnealedLangevin(step=0.2 * 0.05**2, steps_per_level=20), known=known,
        draw=lambda: torch.randn(400, 2, generator=generator, dtype=torch.float64),
    )  # fmt: skip
    assert (made[:, 0] == 2.0).all()
    assert float(made[:, 1].mean()) == pytest.approx(1.8, abs=0.2)


def test_plain_dynamics_take_as_many_steps_at_the_last_level():
    model = build(V2)
    (sigmas, solver), (one, many) = plan(model, NcsnRequest()), plan(model, NcsnRequest(annealed=False))
    assert one == sigmas[-1:]
    assert many.steps_per_level == len(sigmas) * solver.steps_per_level
    fewer, chosen = plan(model, NcsnRequest(levels=3, steps_per_level=4))
    assert (len(fewer), chosen.steps_per_level) == (3, 4)
    assert fewer[0] == pytest.approx(5.0)
    assert chosen.step != solver.step
    assert sum(1 for _ in chosen.plan((*fewer, 0.0), Edm(sigma_min=0.05, sigma_max=5.0))) == 3 * 4 + 1


def test_any_solver_takes_it_as_a_prior():
    for config in (V1, V2):
        source = prior(build(config))
        start = source.start([torch.Generator().manual_seed(0)], source.path.t_max)
        with torch.no_grad():
            made = DpmSolverPp2m()(source.denoiser(), start, (5.0, 1.0, 0.2, 0.05, 0.0), source.path)
        pictures = source.to_pictures(made)
        assert pictures.shape == (1, 3, 8, 8)
        torch.testing.assert_close(source.from_pictures(pictures), made)


def test_states_and_pictures():
    grey = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(from_pictures(to_pictures(grey, 1), 1), grey)
    assert to_pictures(grey, 1).shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    "fields",
    [{"count": 0}, {"count": 40, "mode": Mode.INTERPOLATE}, {"levels": 1}, {"steps_per_level": 0}, {"seed": -1},
     {"inputs": ("a.png",)}],
)  # fmt: skip
def test_requests_that_cannot_be_met_are_refused(fields):
    with pytest.raises(RequestError):
        NcsnRequest(**fields)


def test_completion_without_a_picture_is_refused():
    with pytest.raises(RequestError, match="file"):
        infer(build(V2), NcsnRequest(mode=Mode.INPAINT), silent)


# ------------------------------------------------------------------------------------------------------------ training
def test_batches_are_pixels_in_the_unit_interval():
    world = EmojiWorld(scenes=0.0, size=16)
    plain = NcsnRecipe(build(V2), world).batch(range(4), torch.Generator().manual_seed(0))
    assert plain.shape == (4, 3, 8, 8)
    assert 0 <= plain.min() < plain.max() <= 1
    torch.testing.assert_close(plain * 255, (plain * 255).round(), rtol=0, atol=1e-3)
    filled = NcsnRecipe(build(V1), world).batch(range(4), torch.Generator().manual_seed(0))
    assert filled.shape == (4, 1, 8, 8)
    assert ((filled * 255) - (filled * 255).round()).abs().max() > 0.1
    turned = NcsnRecipe(build(V2), world, flip=True).batch(range(64), torch.Generator().manual_seed(0))
    plain = NcsnRecipe(build(V2), world).batch(range(64), torch.Generator().manual_seed(0))
    mirrored = sum(torch.equal(a, b.flip(2)) and not torch.equal(a, b) for a, b in zip(turned, plain, strict=True))
    assert 15 < mirrored < 49


def test_one_batch_is_learned(tmp_path):
    model = build(replace(V2, width=8))
    recipe = NcsnRecipe(model, EmojiWorld(scenes=0.0, size=16, length=8))
    losses = []
    settings = FitSettings(steps=80, batch_size=8, learning_rate=3e-3, clip_norm=None, log_every=20, ema_decay=0.9)
    fit(recipe, settings, tmp_path, report=lambda progress: losses.append(progress.loss))
    known = [loss for loss in losses if loss is not None]
    assert known[-1] < 0.6 * known[0]
    assert known[-1] < 0.6 * 0.5 * 192  # a score of zero


def test_an_untrained_network_is_worse_than_blur():
    found = evaluate(build(replace(V2, size=16, levels=replace(LEVELS, count=3))), 0, 8, silent)
    distance = next(name for name in found if name.startswith("kernel") and "," not in name)
    assert found[distance].value > found[f"{distance}, blurred"].value
    assert math.isfinite(found[distance].control)
    assert found["loss on held-out emoji"].baseline == 1.0
