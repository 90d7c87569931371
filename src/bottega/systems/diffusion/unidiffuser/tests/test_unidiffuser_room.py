"""The room's own promises: gradients everywhere, time pairs, weights, packing, guidance, and the seven modes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bottega.errors import BottegaError, Cancelled, RequestError
from bottega.networks import BlockNorm
from bottega.processes.diffusion import Ddim, Epsilon, V
from bottega.results import PicturesResult, WordsResult
from bottega.room import Progress, silent
from bottega.systems.diffusion.unidiffuser.config import TINY
from bottega.systems.diffusion.unidiffuser.inference import Mode, UniDiffuserRequest, infer
from bottega.systems.diffusion.unidiffuser.model import JointUVit, Signals, UniDiffuser
from bottega.systems.diffusion.unidiffuser.objective import ABSENT, CLEAN, PATH, TimeMix, joint_loss, levels
from bottega.systems.diffusion.unidiffuser.recipe import AutoencoderRecipe, WordsRecipe
from bottega.systems.diffusion.unidiffuser.sampling import Conditions, Sampler, pack, unpack
from bottega.tokenizers import BpeTokenizer
from bottega.worlds import EmojiWorld

SMALL = replace(
    TINY,
    joint=replace(TINY.joint, trunk=replace(TINY.joint.trunk, width=24, depth=2, num_heads=2)),
    autoencoder=replace(TINY.autoencoder, channels=(8, 8, 16)),
)


@pytest.fixture(scope="module")
def model() -> UniDiffuser:
    torch.manual_seed(0)
    made = UniDiffuser(SMALL)
    world = EmojiWorld()
    tokenizer = BpeTokenizer.trained((world.sample(i).caption for i in range(300)), SMALL.text.vocabulary)
    made.attach({"text_tokenizer": tokenizer.to_json()})
    return made.eval()


def signals(batch: int, seed: int = 0) -> Signals:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((4, 16, 16), (64,), (24, 16))
    return Signals(*(torch.randn((batch, *shape), generator=generator) for shape in shapes))


@pytest.mark.parametrize("norm", list(BlockNorm))
@pytest.mark.parametrize("data_type", [False, True])
def test_gradients_reach_every_parameter(norm: BlockNorm, data_type: bool) -> None:
    trunk = replace(SMALL.joint.trunk, norm=norm)
    network = JointUVit(replace(SMALL.joint, trunk=trunk, data_type=data_type))
    out = network(signals(2), torch.tensor([3.0, 700.0]), torch.tensor([1.0, 1000.0]))
    sum(part.square().sum() for part in out.parts()).backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert missing == []


def test_each_time_reaches_both_outputs() -> None:
    network = JointUVit(SMALL.joint).eval()
    noisy, one, two = signals(1), torch.tensor([1.0]), torch.tensor([900.0])
    base, picture, text = network(noisy, one, one), network(noisy, two, one), network(noisy, one, two)
    for other in (picture, text):
        assert all(not torch.equal(a, b) for a, b in zip(base.parts(), other.parts(), strict=True))


def test_the_seven_modes_train_on_the_times_they_use() -> None:
    generator = torch.Generator().manual_seed(0)
    cases = {
        "text_to_picture": lambda p, t: bool((t == CLEAN).all() and (p >= 0).all() and (p < ABSENT).all()),
        "picture_to_text": lambda p, t: bool((p == CLEAN).all() and (t >= 0).all()),
        "together": lambda p, t: bool((p == t).all()),
        "picture_alone": lambda p, t: bool((t == ABSENT).all() and (p < ABSENT).all()),
        "text_alone": lambda p, t: bool((p == ABSENT).all() and (t < ABSENT).all()),
        "any_pair": lambda p, t: bool((p != t).float().mean() > 0.9),
    }
    for kind, right in cases.items():
        shares: dict[str, Any] = {"any_pair": 0.0, kind: 1.0}
        assert right(*TimeMix(**shares).draw(200, generator)), kind


PREDICTIONS = [Epsilon(), V()]


def right_output(clean: Signals, noise: Signals, time: torch.Tensor, prediction: Epsilon | V) -> Signals:
    """What a perfect network says at one time for both modalities."""
    pairs = zip(clean.parts(), noise.parts(), strict=True)
    return Signals(*(prediction.target(x, e, *levels(x, time)) for x, e in pairs))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_loss_of_the_right_output_is_zero_and_a_given_modality_costs_nothing(prediction: Epsilon | V) -> None:
    clean, noise = signals(4, 1), signals(4, 2)
    time = torch.full((4,), 300.0)
    right = right_output(clean, noise, time, prediction)
    losses = joint_loss(lambda *_: right, clean, noise, time, time, prediction=prediction)
    assert all(float(value) == 0 for value in losses.values())
    wrong = Signals(right.latent + 1, right.picture + 1, right.text + 1)
    for given in (CLEAN, ABSENT):
        losses = joint_loss(lambda *_: wrong, clean, noise, time, torch.full((4,), given), prediction=prediction)
        assert float(losses["latent"]) == pytest.approx(1.0, rel=1e-5)
        assert float(losses["text"]) == 0


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_network_is_told_its_times_and_sees_the_noise_of_each(prediction: Epsilon | V) -> None:
    clean, noise, seen = signals(2, 1), signals(2, 2), []

    def network(noisy: Signals, picture_time: torch.Tensor, text_time: torch.Tensor) -> Signals:
        seen.append((noisy, picture_time, text_time))
        return noisy

    joint_loss(network, clean, noise, torch.full((2,), CLEAN), torch.full((2,), ABSENT), prediction=prediction)
    noisy, picture_time, text_time = seen[0]
    assert picture_time.tolist() == [0.0, 0.0]
    assert text_time.tolist() == [1000.0, 1000.0]
    assert torch.equal(noisy.latent, clean.latent)
    assert torch.equal(noisy.text, noise.text)


def test_packing_round_trip() -> None:
    parts = signals(3).parts()
    back = unpack(pack(*parts), tuple(part.shape[1:] for part in parts))
    assert all(torch.equal(a, b) for a, b in zip(parts, back, strict=True))


class GaussianPair(torch.nn.Module):
    """The optimal noise of x ~ N(0, 1), y = x with every number of a modality independent: known in closed form.

    Both modalities hold one number each, repeated over their shapes; picture and text are equal when clean.
    """

    def __init__(self) -> None:
        super().__init__()
        sizes = {"latent_channels": 1, "latent_size": 1, "picture_dim": 1, "text_tokens": 1, "text_dim": 1}
        self.config = replace(SMALL.joint, **sizes, prediction=Epsilon())
        self.pos_embed = torch.nn.Parameter(torch.zeros(1))
        self.rho = 0.8

    def forward(self, noisy: Signals, picture_time: torch.Tensor, text_time: torch.Tensor) -> Signals:
        """E[noise | noisy pair] for a jointly Gaussian pair with correlation rho."""
        x, y = noisy.latent.flatten(1), noisy.text.flatten(1)
        a, s = (f(picture_time - 1).float()[:, None] for f in (PATH.alpha, PATH.sigma))
        b, r = (f(text_time - 1).float()[:, None] for f in (PATH.alpha, PATH.sigma))
        # covariance of (x_t, y_t), and of the noises with them
        vx, vy, c = a * a + s * s, b * b + r * r, a * b * self.rho
        det = vx * vy - c * c
        ex = s * (vy * x - c * y) / det
        ey = r * (vx * y - c * x) / det
        return Signals(ex.view_as(noisy.latent), torch.zeros_like(noisy.picture), ey.view_as(noisy.text))


def test_analytic_gaussian_pair_conditionals_and_joint() -> None:
    """With the optimal predictor of a jointly Gaussian pair, sampling gives back its conditionals and correlation."""
    pair = GaussianPair()
    sampler = Sampler(pair, steps=100, guidance=1.0, seed=3, solver=Ddim())  # pyright: ignore[reportArgumentType]
    count = 1500
    given = torch.full((count, 1, 1), 1.5)
    x = sampler.pictures(Conditions.text(given), lambda _: None)[0].flatten()
    # Stable Diffusion's path keeps alpha(999) = 0.068 of the signal at its noisiest, yet sampling starts from none:
    # a known pull of alpha * deviation * mean towards 0.
    kept = 1 - 0.6 * float(PATH.alpha(999.0))
    assert float(x.mean()) == pytest.approx(0.8 * 1.5 * kept, abs=0.05)
    assert float(x.std()) == pytest.approx((1 - 0.8**2) ** 0.5, abs=0.05)
    picture = torch.full((count, 1, 1, 1), -1.0)
    y = sampler.texts(Conditions.picture(picture, torch.zeros(count, 1)), lambda _: None).flatten()
    assert float(y.mean()) == pytest.approx(-0.8 * kept, abs=0.05)
    alone = sampler.pictures(Conditions.none(count), lambda _: None)[0].flatten()
    assert float(alone.mean()) == pytest.approx(0.0, abs=0.08)
    assert float(alone.std()) == pytest.approx(1.0, abs=0.06)
    latent, code = sampler.both(count, lambda _: None)
    correlation = torch.corrcoef(torch.stack((latent.flatten(), code.flatten())))[0, 1]
    assert float(correlation) == pytest.approx(0.8, abs=0.05)


def test_guidance_pushes_the_mean_away_from_the_marginal() -> None:
    given = Conditions.text(torch.full((400, 1, 1), 1.0))
    means = [
        float(Sampler(GaussianPair(), steps=50, guidance=scale, seed=1).pictures(given, lambda _: None)[0].mean())  # pyright: ignore[reportArgumentType]
        for scale in (0.0, 1.0, 2.0, 3.0)
    ]
    assert all(low < high for low, high in pairwise(means))


def test_joint_guidance_pushes_away_from_independent_halves() -> None:
    """Scale 0 draws from the two marginals, which know nothing of each other; 1 from the joint; more exaggerates it."""
    correlations = []
    for scale in (0.0, 1.0, 1.5):
        sampler = Sampler(GaussianPair(), steps=50, guidance=scale, seed=3)  # pyright: ignore[reportArgumentType]
        latent, code = sampler.both(800, lambda _: None)
        correlations.append(float(torch.corrcoef(torch.stack((latent.flatten(), code.flatten())))[0, 1]))
    assert abs(correlations[0]) < 0.15
    assert correlations[0] + 0.4 < correlations[1] < correlations[2]


def test_an_item_does_not_depend_on_its_neighbours(model: UniDiffuser) -> None:
    one = infer(model, UniDiffuserRequest(inputs=("red apple",), steps=2, seed=5), silent)
    two = infer(model, UniDiffuserRequest(inputs=("red apple", "cat"), steps=2, seed=5), silent)
    assert isinstance(one, PicturesResult)
    assert isinstance(two, PicturesResult)
    assert np.abs(one.pictures[0].astype(int) - two.pictures[0].astype(int)).max() <= 1


@pytest.mark.parametrize("mode", list(Mode))
def test_each_mode_runs_and_repeats(model: UniDiffuser, mode: Mode, tmp_path: Path) -> None:
    picture = tmp_path / "photo.png"
    Image.new("RGBA", (90, 50), (200, 30, 30, 128)).save(picture)
    inputs: tuple[str, ...] = ()
    if mode in (Mode.TEXT_TO_IMAGE, Mode.TEXT_VARIATION):
        inputs = ("red apple",)
    if mode in (Mode.IMAGE_TO_TEXT, Mode.IMAGE_VARIATION):
        inputs = (str(picture),)
    seen: list[Progress] = []
    request = UniDiffuserRequest(inputs=inputs, mode=mode, count=2, steps=2, seed=1)
    first, again = infer(model, request, seen.append), infer(model, request, silent)
    assert len(first.items()) == 2
    words = mode in (Mode.IMAGE_TO_TEXT, Mode.TEXT, Mode.TEXT_VARIATION)
    assert isinstance(first, WordsResult if words else PicturesResult)
    assert [progress.step for progress in seen] == list(range(1, seen[-1].total + 1))
    for key, value in first.arrays().items():
        assert np.array_equal(value, again.arrays()[key]), key


def test_cancelling_stops_at_the_next_step(model: UniDiffuser) -> None:
    steps: list[int] = []

    def stop(progress: Progress) -> None:
        steps.append(progress.step)
        assert progress.preview is not None
        assert progress.preview().shape == (64, 64, 3)
        if progress.step == 2:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        infer(model, UniDiffuserRequest(inputs=("cat",), steps=6), stop)
    assert steps == [1, 2]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"inputs": ()}, "prompt"),
        ({"inputs": ("  ",)}, "empty"),
        ({"mode": Mode.JOINT}, "no inputs"),
        ({"mode": Mode.IMAGE_TO_TEXT, "inputs": ()}, "picture"),
        ({"count": 0}, "count"),
        ({"count": 1000}, "256"),
        ({"steps": 0}, "steps"),
        ({"guidance": -1.0}, "guidance"),
        ({"guidance": float("nan")}, "guidance"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_requests_say_what_to_do(change: dict[str, Any], word: str) -> None:
    with pytest.raises(RequestError, match=word):
        UniDiffuserRequest(**{"inputs": ("cat",), **change})


def test_words_without_a_tokenizer_is_a_clear_error() -> None:
    with pytest.raises(BottegaError, match="tokenizer"):
        infer(UniDiffuser(SMALL).eval(), UniDiffuserRequest(inputs=("cat",), steps=1), silent)


class FewPairs:
    """Some samples of the emoji world as a short source."""

    def __init__(self, length: int) -> None:
        self.world = EmojiWorld(scenes=0.0)
        self.length = length

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int) -> Any:  # noqa: ANN401 - the world's sample
        return self.world.sample(index)


def test_finishing_the_autoencoder_standardises_and_changes_no_reconstruction() -> None:
    torch.manual_seed(1)
    model = UniDiffuser(SMALL).eval()
    recipe = AutoencoderRecipe(model, FewPairs(24))
    pictures = recipe.batch(range(24), torch.Generator())
    with torch.no_grad():
        before = model.autoencoder.decode(model.autoencoder.encode(pictures).mean)
        recipe.finish()
        gaussian = model.autoencoder.encode(pictures)
        after = model.autoencoder.decode(gaussian.mean)
    assert torch.allclose(before, after, atol=2e-4)
    assert torch.allclose(gaussian.mean.mean((0, 2, 3)), torch.zeros(4), atol=1e-3)
    assert torch.allclose(gaussian.mean.std((0, 2, 3)), torch.ones(4), atol=1e-3)


def test_finishing_the_words_standardises_and_changes_no_text(model: UniDiffuser) -> None:
    texts: Sequence[str] = ["red apple", "cat face", "two dogs"]
    recipe = WordsRecipe(model, FewPairs(64))
    with torch.no_grad():
        tokens = model.tokenize(texts)
        before = model.caption(model.text_code(texts), tokens)
        recipe.finish()
        after = model.caption(model.text_code(texts), tokens)
        spread = model.text_code([recipe.source.sample(i).caption for i in range(64)]).std((0, 1))
    assert torch.allclose(before, after, atol=1e-3)
    assert torch.allclose(spread, torch.ones_like(spread), atol=1e-2)
