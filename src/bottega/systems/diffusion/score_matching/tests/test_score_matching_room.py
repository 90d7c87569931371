"""Score networks: the authors' networks and numbers, what each loss learns, what is drawn of it.

The golden numbers were made with `Score` and `MLPScore` of ermongroup/sliced_score_matching's models/wae.py by

    import torch, models.wae as wae
    from types import SimpleNamespace as N
    for kind, z in ((wae.Score, 4), (wae.MLPScore, 5)):
        model = kind(N(model=N(z_dim=z, nef=2), data=N(channels=3, image_size=32, dataset="CELEBA")))
        generator = torch.Generator().manual_seed(0)
        for name, p in sorted(model.named_parameters()):
            p.data.copy_(0.1 * torch.randn(p.shape, generator=generator))
        print(model(torch.randn(2, z, generator=torch.Generator().manual_seed(1))).flatten().tolist())
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bottega.errors import RequestError
from bottega.processes.diffusion import Projection
from bottega.room import silent
from bottega.systems.diffusion.score_matching.config import (
    TOY,
    Activation,
    MapConfig,
    Method,
    MlpConfig,
    ScoreMatchingConfig,
)
from bottega.systems.diffusion.score_matching.evaluation import evaluate
from bottega.systems.diffusion.score_matching.inference import Mode, Pair, ScoreMatchingRequest, infer
from bottega.systems.diffusion.score_matching.model import ScoreMatching
from bottega.systems.diffusion.score_matching.objective import backward_passes, score_loss, two_modes
from bottega.systems.diffusion.score_matching.recipe import ScoreMatchingRecipe, TwoModes, open_points
from bottega.systems.diffusion.score_matching.sampling import Plane, curves, heat
from bottega.training import Cosine, FitSettings, fit

SMALL = ScoreMatchingConfig(network=MlpConfig(dim=2, hidden=(16,)), methods=tuple(Method))
MAP = [0.5448205471038818, -2.5625874996185303, 1.3885146379470825, -1.9071422815322876, 0.5467297434806824,
       -2.5629849433898926, 1.3859715461730957, -1.908079981803894]  # fmt: skip
LAYERS = [-0.24066899716854095, -0.11875733733177185, 0.013665303587913513, 0.8083469271659851, -0.0045266300439834595,
          0.2035856395959854, 1.049637794494629, -1.2066577672958374, -0.09085933864116669,
          -0.757648229598999]  # fmt: skip
NAMES = {  # the authors' names, by which the script sorts
    "spread": "zfc.0", "gather": "flatten.0", "head": "score", **{f"convs.{i}": f"main.{2 * i}" for i in range(4)}
}  # fmt: skip


def build(config=SMALL, seed=0):
    torch.manual_seed(seed)
    return ScoreMatching(config).eval()


# ------------------------------------------------------------------------------------------------------------ networks
@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (MapConfig(dim=4, size=32, width=2), MAP),
        (MlpConfig(dim=5, hidden=(256, 256), activation=Activation.TANH), LAYERS),
    ],
)
def test_equal_to_the_authors_networks(network, expected):
    model = build(ScoreMatchingConfig(network=network, methods=(Method.SLICED,)))
    generator = torch.Generator().manual_seed(0)

    def theirs(item):
        part, _, kind = item[0].removeprefix("networks.sliced.").rpartition(".")
        return f"{NAMES.get(part, f'main.{part}')}.{kind}"

    with torch.no_grad():
        for _, p in sorted(model.named_parameters(), key=theirs):
            p.copy_(0.1 * torch.randn(p.shape, generator=generator))
        x = torch.randn(2, network.dim, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(model(x, Method.SLICED).flatten(), torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_gradients_reach_every_parameter_and_only_their_own():
    model, x = build(), torch.randn(8, 2)
    for method in Method:
        model.zero_grad()
        score_loss(lambda y, m=method: model(y, m), x, method, SMALL).mean().backward()
        for name, p in model.named_parameters():
            own = f".{method.name.lower()}." in f".{name}"
            last_bias = name.endswith("2.bias")  # the trace does not see it, but the squared score does
            moved = p.grad is not None and bool(p.grad.abs().sum() > 0)
            assert moved == own, (method, name, last_bias)


def test_a_network_that_is_not_there_is_named():
    model = build(ScoreMatchingConfig(network=TOY, methods=(Method.SLICED_VR,)))
    with pytest.raises(RequestError, match="sliced-vr"):
        infer(model, ScoreMatchingRequest(method=Method.EXACT), silent)


# ------------------------------------------------------------------------------------------------------------ learning
@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """All four networks after some hundred steps."""
    config = ScoreMatchingConfig(
        network=MlpConfig(dim=2, hidden=(64, 64)), methods=tuple(Method), projection=Projection.RADEMACHER
    )
    model = build(config)
    settings = FitSettings(
        steps=500, batch_size=256, learning_rate=5e-3, schedule=Cosine(final=0.01), weight_decay=0.0, clip_norm=None
    )
    fit(ScoreMatchingRecipe(model, TwoModes()), settings, tmp_path_factory.mktemp("scores"))
    return model.eval()


@pytest.mark.parametrize("method", Method)
def test_every_loss_finds_the_score_where_data_are(trained, method):
    found = evaluate(trained, 0, 500, silent)
    near = found[f"Fisher divergence, {method.value}"]
    assert near.value < 0.25 * near.baseline
    assert near.value < 0.25 * near.control


@pytest.mark.parametrize("method", Method)
def test_no_loss_finds_it_where_there_are_none(trained, method):
    """The low-density failure of arXiv:1907.05600 section 3.2.1."""
    found = evaluate(trained, 0, 500, silent)
    near, far = (found[f"Fisher divergence{where}, {method.value}"] for where in ("", " far from data"))
    assert far.value > 10 * near.value


def test_plain_langevin_misses_the_weights_even_on_the_true_score(trained):
    result = infer(trained, ScoreMatchingRequest(mode=Mode.LANGEVIN, size=64, points=1000, steps=300), silent)
    learned, true = (float(caption.split(": ")[1][:4]) for caption in result.captions)
    assert abs(true - 0.5) < 0.1
    assert abs(learned - 0.8) > 0.1


# ------------------------------------------------------------------------------------------------------------- drawing
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("dim", [2, 6])
def test_every_mode_draws(mode, dim):
    model = build(ScoreMatchingConfig(network=MlpConfig(dim=dim, hidden=(8,)), methods=(Method.SLICED_VR,)))
    steps = []
    request = ScoreMatchingRequest(mode=mode, size=64, points=20, steps=3, inputs=("0,0", "5,5"))
    result = infer(model, request, steps.append)
    assert len(result.items()) == (2 if mode in (Mode.FIELD, Mode.LANGEVIN) else 1)
    assert all(picture.shape == (64, 64, 3) and picture.std() > 1 for picture in result.items())
    assert [progress.step for progress in steps] == list(range(1, steps[0].total + 1))
    assert result.settings["score at 0,0"].endswith("truly (3.000, 3.000)")  # of the responsibilities' mean, 0.6 * 5


def test_the_plane_runs_through_both_modes():
    pair = Pair(
        build(ScoreMatchingConfig(network=MlpConfig(dim=6, hidden=(8,)), methods=(Method.SLICED_VR,))), Method.SLICED_VR
    )
    x = pair.lifted(np.array([[5.0, 5.0], [-5.0, -5.0]]))
    torch.testing.assert_close(x, pair.truth.means)
    np.testing.assert_allclose(pair.seen(x), [[5, 5], [-5, -5]])


def test_pixels_of_points():
    plane = Plane(span=8.0, size=64)
    assert plane.pixel((-8, 8)) == (0, 0)
    assert plane.pixel((8, -8)) == (64, 64)
    grid = plane.grid(4)
    assert tuple(grid[0]) == (-6, 6)
    values = np.zeros((8, 8))
    values[0, 7] = 1.0  # the upper right corner
    picture = np.asarray(heat(values, plane, 0.0, 1.0)).sum(axis=2, dtype=int)
    assert picture[2, 61] > picture[61, 2]


def test_exact_costs_more_with_dimension_and_sliced_does_not():
    assert [backward_passes(Method.EXACT, SMALL, dim) for dim in (2, 4, 64)] == [2, 4, 64]
    assert [backward_passes(Method.SLICED_VR, SMALL, dim) for dim in (2, 4, 64)] == [1, 1, 1]
    assert backward_passes(Method.DENOISING, SMALL, 8) == 0
    drawn = curves({"a": [(2, 2), (64, 64)], "b": [(2, 1), (64, 1)]}, 128, "x", "y")
    assert drawn.shape == (128, 128, 3)


# ---------------------------------------------------------------------------------------------------- data and requests
def test_the_samples_are_those_of_the_mixture():
    world = TwoModes()
    x = torch.stack([world.sample(i) for i in range(20_000)])[:, :3].double()
    truth = two_modes(3)
    assert abs(float((x[:, 0] > 0).double().mean()) - 0.8) < 0.012
    torch.testing.assert_close(x.mean(0), truth.weights @ truth.means, rtol=0, atol=0.12)
    assert float(truth.score(x).mean(0).abs().max()) < 0.03  # a score's mean is 0
    torch.testing.assert_close(truth.score(x).T @ truth.score(x) / len(x), torch.eye(3).double(), rtol=0, atol=0.05)
    assert torch.equal(TwoModes().sample(5), world.sample(5))


def test_other_data_are_refused():
    with pytest.raises(RequestError, match="two-modes"):
        open_points("my_pictures/")


@pytest.mark.parametrize(
    "fields",
    [{"inputs": ("a cat",)}, {"inputs": ("1,2,3",)}, {"inputs": ("nan,1",)}, {"span": 0.5}, {"size": 8}, {"points": 0},
     {"steps": 0}, {"step_size": 0.0}, {"seed": -1}],
)  # fmt: skip
def test_requests_that_cannot_be_met_are_refused(fields):
    with pytest.raises(RequestError):
        ScoreMatchingRequest(**fields)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MlpConfig(dim=1, hidden=(8,)),
        lambda: MapConfig(dim=4, size=20, width=2),
        lambda: ScoreMatchingConfig(network=TOY, methods=()),
        lambda: ScoreMatchingConfig(network=TOY, methods=(Method.EXACT, Method.EXACT)),
        lambda: ScoreMatchingConfig(network=TOY, methods=(Method.EXACT,), directions=0),
        lambda: ScoreMatchingConfig(network=TOY, methods=(Method.EXACT,), sigma=0.0),
    ],
)
def test_configs_that_do_not_fit_are_refused(make):
    with pytest.raises(RequestError):
        make()
