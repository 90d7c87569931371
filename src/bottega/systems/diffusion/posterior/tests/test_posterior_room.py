"""The room: sizes, gradients, every task on a small prior, what measurements promise, and what users are told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bottega.errors import RequestError, WeightsError
from bottega.processes.diffusion import X0, Fourier, Mask, Prior, Radon, Vp
from bottega.room import silent
from bottega.systems.diffusion.posterior.config import PRESETS, TINY, PosteriorConfig, ScanConfig, ScoreNoise
from bottega.systems.diffusion.posterior.evaluation import Bench, figures
from bottega.systems.diffusion.posterior.inference import (
    PosteriorRequest,
    Task,
    files,
    group_score,
    infer,
    scanned,
    word_numbers,
)
from bottega.systems.diffusion.posterior.model import Posterior, Reader
from bottega.systems.diffusion.posterior.objective import group_names, known_words, reader_loss, rival_loss, scan_loss
from bottega.systems.diffusion.posterior.recipe import (
    STAGES,
    IndexedStudy,
    Studies,
    density_of,
    emoji_of,
    reader_recipe,
    rival_recipe,
    scan_recipe,
)
from bottega.systems.diffusion.posterior.sampling import Drawing, Method, SolverName, told_by
from bottega.worlds import EmojiWorld, PhantomsWorld


class RoundGaussian(nn.Module):
    """The exact x0 of Gaussian pixels, each on its own: mean 0.2, standard deviation 0.5."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x, t, cond):
        alpha, sigma = (part.to(x)[:, None, None, None] for part in (self.path.alpha(t), self.path.sigma(t)))
        return 0.2 + 0.25 * alpha * (x - alpha * 0.2) / (0.25 * alpha**2 + sigma**2)


def picture_prior(size=32, *, latent=False):
    path = Vp()
    shape = (3, size // 2, size // 2) if latent else (3, size, size)

    def bigger(states):
        return states.repeat_interleave(2, -1).repeat_interleave(2, -2)

    return Prior(
        network=RoundGaussian(path), path=path, prediction=X0(), shape=shape, size=size,
        to_pictures=bigger if latent else lambda states: states,
        from_pictures=(lambda pictures: pictures[..., ::2, ::2]) if latent else lambda pictures: pictures,
    )  # fmt: skip


@pytest.fixture(scope="module")
def room():
    torch.manual_seed(0)
    model = Posterior(TINY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    model.connect({"prior": picture_prior()})
    return model.eval()


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(EmojiWorld(size=32, scenes=0.0).sample(3).picture).save(path)
    return str(path)


@pytest.fixture
def hole(tmp_path):
    path, mask = tmp_path / "hole.png", np.zeros((32, 32), dtype=np.uint8)
    mask[8:24, 8:24] = 255
    Image.fromarray(mask).save(path)
    return str(path)


# ------------------------------------------------------------------------------------------------------------- networks
def test_every_parameter_learns():
    torch.manual_seed(1)
    model, generator = Posterior(TINY), torch.Generator().manual_seed(0)
    with torch.no_grad():  # zero outputs of branches would hide what is behind them
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    density = torch.rand(2, 1, 32, 32, generator=generator)
    pictures, words = torch.rand(2, 3, 32, 32, generator=generator), torch.zeros(2, 256)
    loss = scan_loss(model.scans, density, generator) + rival_loss(model.rival, density, generator)
    loss = loss + reader_loss(model.reader, pictures, torch.tensor([0, 1]), words, generator)
    loss.backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still


@pytest.mark.parametrize("recipe", [scan_recipe, rival_recipe, reader_recipe])
def test_one_batch_is_learned(recipe):
    torch.manual_seed(0)
    made = recipe(Posterior(TINY), Studies())
    batch, generator = made.batch(range(4), torch.Generator().manual_seed(0)), torch.Generator()
    optimizer = torch.optim.Adam(made.model.parameters(), lr=1e-3)
    losses = []
    for _ in range(40):
        generator.manual_seed(7)
        if recipe is reader_recipe:
            loss = reader_loss(made.model, batch.pictures, batch.groups, batch.words, generator)
        else:
            loss = made.loss(batch.density, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_the_papers_prior_is_a_score_of_densities_in_unit_range():
    """A small one of the same kind: x0 + sigma^2 score, and states are the densities themselves."""
    paper = PRESETS["ct2d-320"].config.scans
    network = type(paper.network)(
        size=16, channels=1, width=8, multipliers=(1, 2), blocks=1, attention_sizes=(8,), fir=True,
        output=paper.network.output, input=paper.network.input, time=paper.network.time, divide_by_sigma=True,
        centred=False, dropout=0.0,
    )  # fmt: skip
    model = Posterior(PosteriorConfig(scans=ScanConfig(network=network, noise=ScoreNoise(sigma_max=128.0))))
    prior = model.scans.prior()
    x = torch.rand(2, 1, 16, 16)
    raw = model.scans.network.network(x, torch.full((2,), prior.path.sigma(0.5)))
    torch.testing.assert_close(prior.denoiser()(x, 0.5, None), x + prior.path.sigma(0.5) ** 2 * raw)
    assert model.scans.to_states(x) is x or torch.equal(model.scans.to_states(x), x)
    assert scan_loss(model.scans, x, torch.Generator().manual_seed(0)).isfinite()
    with pytest.raises(WeightsError, match="no reader"):
        model.read()
    with pytest.raises(RequestError, match="no supervised rival"):
        rival_recipe(model, Studies())
    with pytest.raises(ValueError, match="divided"):
        ScanConfig(network=network, noise=TINY.scans.noise)


def test_reader_is_told_the_noise_and_the_scale_does_not_matter():
    torch.manual_seed(0)
    reader = Reader(TINY.reader)
    x, one = torch.randn(2, 3, 32, 32), torch.ones(2)
    groups, words = reader(x, one, one)
    assert (groups.shape, words.shape) == ((2, 9), (2, 256))
    torch.testing.assert_close(reader(5 * x, 5 * one, 5 * one)[0], groups)
    assert not torch.allclose(reader(x * 0.5**0.5, one, 0.001 * one)[0], groups)


# ----------------------------------------------------------------------------------------------------------------- data
def test_studies_show_a_phantom_and_an_emoji():
    study = Studies().sample(5)
    assert np.array_equal(density_of(study, 32), PhantomsWorld(size=32).sample(5).density)
    assert emoji_of(study, 32).things[0].id >= 0
    grey = density_of(EmojiWorld(size=48, scenes=0.0).sample(1), 32)
    assert grey.shape == (32, 32)
    assert 0 <= grey.min() <= grey.max() <= 1
    with pytest.raises(RequestError, match="single emoji"):
        emoji_of(PhantomsWorld().sample(0), 32)
    assert isinstance(study, IndexedStudy)
    assert [stage.name for stage in STAGES] == ["scans", "rival", "reader"]


def test_words_are_those_of_many_names():
    words = known_words(256)
    assert len(set(words)) == 256
    assert {"woman", "flag", "heart", "red"} <= set(words)
    assert not {"with", "of"} & set(words)
    assert [words[i] for i in word_numbers("Red heart", 256)] == ["red", "heart"]
    with pytest.raises(RequestError, match="zyzzyva"):
        word_numbers("zyzzyva", 256)
    assert len(group_names()) == TINY.reader.groups


# ---------------------------------------------------------------------------------------------------------------- tasks
def requests(photo, hole):
    yield PosteriorRequest(task=Task.CLASSIFIER, inputs=("flags", "food & drink"), steps=2)
    yield PosteriorRequest(task=Task.WORDS, inputs=("red", "heart"), steps=2)
    yield PosteriorRequest(task=Task.STROKE, inputs=(photo,), steps=4, mask=hole)
    yield PosteriorRequest(task=Task.INPAINT, inputs=(photo,), steps=2, mask=hole)
    yield PosteriorRequest(task=Task.INPAINT, inputs=(photo,), steps=2, mask=hole, method=Method.MERGE)
    for task in (Task.COLOURISE, Task.SUPER_RESOLUTION, Task.DEBLUR):
        yield PosteriorRequest(task=task, inputs=(photo,), steps=2, compare=True)
    yield PosteriorRequest(task=Task.SUPER_RESOLUTION, inputs=(photo,), steps=2, degraded=True, compare=True)
    for task in (Task.CT, Task.MRI):
        for method in Method:
            yield PosteriorRequest(task=task, steps=2, method=method)
    yield PosteriorRequest(task=Task.CT, inputs=(photo,), steps=2, compare=True, count=2)


@pytest.mark.parametrize("latent", [False, True], ids=["pixels", "latents"])
def test_every_task_runs_and_repeats(room, photo, hole, latent):
    room.connect({"prior": picture_prior(latent=latent)})
    for request in requests(photo, hole):
        if latent and request.task is Task.STROKE:
            with pytest.raises(RequestError, match="draws pixels"):
                infer(room, request, silent)
            continue
        steps = []
        result = infer(room, request, steps.append)
        assert result.pictures.shape[1:] == (32, 32, 3), request
        items = 1 if request.task is Task.WORDS else max(1, len(request.inputs))
        shown = 2 + (not request.degraded) if request.compare else 1
        assert len(result.pictures) == request.count * items * shown, request
        assert steps[-1].step == steps[-1].total
        assert steps[0].preview().shape == (32, 32, 3)
        assert np.array_equal(result.pictures, infer(room, request, silent).pictures)
    room.connect({"prior": picture_prior()})


def test_pictures_need_nothing_but_a_prior():
    """The size without weights: every task on pictures runs, also without files."""
    model = Posterior(PosteriorConfig())
    model.connect({"prior": picture_prior()})
    assert not list(model.parameters())
    for task in (Task.STROKE, Task.INPAINT, Task.COLOURISE, Task.SUPER_RESOLUTION, Task.DEBLUR):
        result = infer(model, PosteriorRequest(task=task, steps=3, count=2, compare=True), silent)
        assert len(result.pictures) == (2 if task is Task.STROKE else 6)
    with pytest.raises(ValueError, match="rival"):
        PosteriorConfig(rival=12)


def test_files_are_those_that_are_read(photo, hole):
    assert files(PosteriorRequest(task=Task.INPAINT, inputs=(photo,), mask=hole)) == (photo, hole)
    assert files(PosteriorRequest(task=Task.WORDS, inputs=("red",))) == ()
    assert files(PosteriorRequest(task=Task.CT)) == ()


def test_users_are_told_what_is_missing(room, photo, hole):
    for task in (Task.CLASSIFIER, Task.WORDS):
        with pytest.raises(RequestError, match="needs"):
            PosteriorRequest(task=task)
    with pytest.raises(RequestError, match="takes no mask"):
        PosteriorRequest(task=Task.CT, mask=hole)
    with pytest.raises(RequestError, match="strength"):
        PosteriorRequest(task=Task.STROKE, inputs=(photo,), strength=2.0)
    with pytest.raises(RequestError, match="divisor of 32"):
        infer(room, PosteriorRequest(task=Task.SUPER_RESOLUTION, inputs=(photo,), factor=5), silent)
    with pytest.raises(RequestError, match="at most 32"):
        infer(room, PosteriorRequest(task=Task.MRI, measured=33), silent)
    with pytest.raises(RequestError, match="food & drink"):
        infer(room, PosteriorRequest(task=Task.CLASSIFIER, inputs=("food and drinks",)), silent)
    alone = Posterior(PosteriorConfig())
    for missing in (PosteriorRequest(task=Task.CT), PosteriorRequest(task=Task.CLASSIFIER, inputs=("flags",))):
        alone.connect({"prior": picture_prior()})
        with pytest.raises(WeightsError, match="load tiny"):
            infer(alone, missing, silent)
    alone.connect({})
    with pytest.raises(WeightsError, match="uvit"):
        infer(alone, PosteriorRequest(task=Task.STROKE, inputs=(photo,)), silent)


# -------------------------------------------------------------------------------------------------------- what it means
@pytest.mark.parametrize("task", [Task.CT, Task.MRI])
def test_a_measurement_of_densities_is_one_of_states(room, task):
    density = torch.from_numpy(PhantomsWorld(size=32).sample(0).density)[None, None]
    known = scanned(room, density, task, 12, torch.Generator().manual_seed(0))
    error = known.measured - known.operator.forward(room.scans.to_states(density))
    count = 12 * 32
    size = error.abs().square().sum().sqrt() / count**0.5
    wanted = known.noise_std * (2**0.5 if task is Task.MRI else 1)
    assert float(size) == pytest.approx(wanted, rel=0.1)
    assert isinstance(known.operator, Radon if task is Task.CT else Fourier)


@pytest.mark.parametrize("method", [Method.PROJECT, Method.GRADIENT])
def test_pixels_of_a_round_gaussian_follow_the_closed_form(method):
    """Known pixels with noise: mean and spread of the rest and of the known by the formula."""
    prior, noise = picture_prior(32), 0.3
    known = torch.zeros(32, 32)
    known[:, :16] = 1
    drawing = Drawing(prior=prior, solver=SolverName.HEUN.solver(), steps=40, seed=0)
    with torch.no_grad():
        made = drawing.restore(Mask(known), torch.ones(4, 3, 32, 32) * known, noise, method)
    gain = 0.25 / (0.25 + noise**2)
    for part, mean, variance in (
        (made[..., :16], 0.2 + gain * 0.8, 0.25 * (1 - gain)),
        (made[..., 16:], 0.2, 0.25),
    ):
        assert float(part.mean()) == pytest.approx(mean, abs=0.03)
        assert float(part.std()) == pytest.approx(variance**0.5, rel=0.06)


def test_the_reader_pulls_towards_its_group(room):
    """A reader that calls a picture a flag when it is bright: guided pictures are brighter, the more the stronger."""

    class Bright(nn.Module):
        config = TINY.reader

        def forward(self, x, alpha, sigma):
            light = x.mean((1, 2, 3)) * 40
            return torch.stack([light, *[torch.zeros_like(light)] * 8], dim=1), torch.zeros(len(x), 256)

    score, means = group_score(torch.zeros(4, dtype=torch.long)), []
    for prior in (picture_prior(), picture_prior(latent=True)):
        drawing = Drawing(prior=prior, solver=SolverName.DDIM.solver(), steps=20, seed=0)
        for scale in (0.0, 5.0, 20.0):
            with torch.no_grad():
                made = drawing.draw(4, told_by(Bright(), prior, score, scale))
            means.append(float(made.mean()))
    assert means[:3] == sorted(means[:3])
    assert means[3:] == sorted(means[3:])
    assert means[2] > means[0] + 0.01


def test_more_noise_keeps_less_of_the_strokes():
    prior = picture_prior()
    guide, kept = torch.ones(2, 3, 32, 32), []
    for strength in (0.2, 0.5, 0.9):
        drawing = Drawing(prior=prior, solver=SolverName.DDIM.solver(), steps=20, seed=0)
        with torch.no_grad():
            kept.append(float((drawing.edit(guide, strength) - guide).square().mean()))
    assert kept == sorted(kept)


def test_figures_stand_beside_baseline_and_control(room):
    found = figures(Bench(room, 0, 2, steps=2), silent)
    assert {f"CT, {n} projections: PSNR" for n in (6, 12, 24)} <= found.keys()
    assert "CT, 24 projections (supervised U-Net, trained for 12): PSNR" in found
    assert any(name.startswith("MRI") for name in found)
    assert {"colourisation: PSNR", "classifier guidance: group of the nearest tile"} <= found.keys()
    for name, measure in found.items():
        assert np.isfinite([measure.value, measure.baseline, measure.control]).all(), name
        assert measure.samples == 2
