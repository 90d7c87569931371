"""What score SDE models do: every sampler, likelihoods, codes, and learning."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bottega.errors import RequestError
from bottega.networks import NcsnppConfig, TimeEmbedding
from bottega.processes.diffusion import (
    Dopri5,
    GaussianMixture,
    Hutchinson,
    SubVp,
    VeGeometric,
    Vp,
    log_likelihood,
)
from bottega.systems.diffusion.score_sde.config import PRESETS, ScoreSdeConfig
from bottega.systems.diffusion.score_sde.evaluation import PixelGaussian, auroc
from bottega.systems.diffusion.score_sde.inference import Mode, ScoreSdeRequest, infer
from bottega.systems.diffusion.score_sde.model import ScoreSde
from bottega.systems.diffusion.score_sde.objective import denoiser, score_sde_loss
from bottega.systems.diffusion.score_sde.sampling import Corrected, Sampler, draw, likelihood, prior
from bottega.training import sample_generators

SMALL = NcsnppConfig(size=8, width=8, multipliers=(1, 2), blocks=1, attention_sizes=(4,), dropout=0.0)
VE_SMALL = replace(SMALL, time=TimeEmbedding.FOURIER, divide_by_sigma=True, centred=False)
CONFIGS = {
    "vp": ScoreSdeConfig(network=SMALL, sde=Vp(t_min=1e-3)),
    "sub-vp": ScoreSdeConfig(network=SMALL, sde=SubVp()),
    "ve": ScoreSdeConfig(network=VE_SMALL, sde=VeGeometric(sigma_max=10.0)),
}


def model(name: str, scale: float = 0.05) -> ScoreSde:
    """A network with small random weights everywhere."""
    torch.manual_seed(0)
    built = ScoreSde(CONFIGS[name]).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(scale * torch.randn(parameter.shape))
    return built


def streams(count: int) -> list[torch.Generator]:
    return sample_generators(torch.Generator().manual_seed(7), range(count))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_learns(name):
    network = model(name)
    pictures = torch.rand((4, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    for weighted in (False, True):
        network.zero_grad()
        score_sde_loss(network, pictures, torch.Generator().manual_seed(0), likelihood_weighting=weighted).backward()
        assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in network.parameters())


def test_the_loss_is_of_the_score():
    """|sigma score + noise|^2 of a VE network, whose own output is the score."""
    network = model("ve")
    x = torch.rand((2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.2, 0.8])
    sigma = network.config.sde.sigma(t).float()
    torch.testing.assert_close(network(x, t), -sigma[:, None, None, None] * network.network(x, sigma))
    with pytest.raises(RequestError, match="takes no condition"):
        network(x, t, "cat")


def test_one_batch_is_learned():
    torch.manual_seed(0)
    network = ScoreSde(CONFIGS["vp"])
    pictures = torch.rand((4, 3, 8, 8), generator=torch.Generator().manual_seed(0)) * 2 - 1
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    first = last = 0.0
    for step in range(30):
        loss = score_sde_loss(network, pictures, torch.Generator().manual_seed(step % 4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        last = float(loss.detach())
        first = first or last
    assert last < 0.8 * first


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("sampler", Sampler)
def test_every_sampler_runs_and_an_item_depends_on_its_stream_alone(name, sampler):
    network = model(name)
    plan = ScoreSdeRequest(sampler=sampler, steps=2, tolerance=0.1, corrector=Corrected.LANGEVIN).plan
    with torch.no_grad():
        two = draw(network, plan, streams(2))
        one = draw(network, plan, streams(2)[1:])
    assert two.shape == (2, 3, 8, 8)
    assert bool(two.isfinite().all())
    if sampler is not Sampler.ODE:  # whose steps suit the hardest sample of a batch
        torch.testing.assert_close(two[1:], one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["vp", "ve"])
def test_codes_decode_to_the_picture(name, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels.transpose(1, 0, 2).copy()).save(tmp_path / "b.png")
    files = (str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    network, tight = model(name, 0.02), 1e-4
    with torch.no_grad():
        network.network.conv_out.weight.zero_()  # a random network is no gentle field; its bias is one
    made = infer(network, ScoreSdeRequest(inputs=files, mode=Mode.RECONSTRUCT, tolerance=tight), lambda _: None)
    assert np.abs(made.pictures[0].astype(int) - pixels).max() <= 1
    assert all(float(text.split()[2]) < 1e-2 for text in made.captions)
    row = infer(network, ScoreSdeRequest(inputs=files, mode=Mode.INTERPOLATE, tolerance=1e-4), lambda _: None)
    assert row.pictures.shape == (8, 8, 8, 3)
    assert np.abs(row.pictures[0].astype(int) - pixels).max() <= 4
    with pytest.raises(RequestError, match="2 pictures"):
        infer(network, ScoreSdeRequest(inputs=files[:1], mode=Mode.INTERPOLATE), lambda _: None)


def test_likelihood_of_pictures_whatever_the_networks_scale():
    """A VE network sees pictures in [0, 1]: densities of pictures in [-1, 1] are 2^-d of those."""
    network = model("ve")
    pictures = torch.rand((2, 3, 8, 8), generator=torch.Generator().manual_seed(1)) * 2 - 1
    random = torch.Generator().manual_seed(2)
    found = likelihood(network, pictures, probes=1, tolerance=1e-2, generator=random)
    random = torch.Generator().manual_seed(2)
    states = log_likelihood_of_states(network, 0.5 * pictures + 0.5, random)
    torch.testing.assert_close(found.log_prob, states - 192 * math.log(2.0))


def log_likelihood_of_states(network, states, random):
    method = Dopri5(rtol=1e-2, atol=1e-2)
    return log_likelihood(
        denoiser(network), states, network.config.sde, trace=Hutchinson(), method=method, generator=random
    ).log_prob


def test_bits_of_files_are_said(tmp_path):
    flat = np.full((8, 8, 3), 128, dtype=np.uint8)
    Image.fromarray(flat).save(tmp_path / "flat.png")
    request = ScoreSdeRequest(inputs=(str(tmp_path / "flat.png"),), mode=Mode.LIKELIHOOD)
    made = infer(model("vp"), request, lambda _: None)
    assert made.captions is not None
    assert made.captions[0].endswith("bits per dimension")
    assert np.array_equal(made.pictures[0], flat)


def test_the_prior_is_the_model():
    source = prior(model("ve"))
    pictures = torch.rand((1, 3, 8, 8)) * 2 - 1
    torch.testing.assert_close(source.to_pictures(source.from_pictures(pictures)), pictures)
    assert source.shape == (3, 8, 8)
    assert source.denoiser()(torch.rand((1, 3, 8, 8)), 0.3).shape == (1, 3, 8, 8)


def test_auroc_and_the_gaussian_baseline():
    assert auroc(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])) == 1.0
    assert auroc(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 3.0])) == pytest.approx(0.625)
    data = GaussianMixture.isotropic([1.0], [[0.0] * 12], [0.2])
    drawn = data.sample(4000, torch.Generator().manual_seed(0))
    pixels = ((drawn + 1) * 128).clamp(0, 255).to(torch.uint8).reshape(-1, 3, 2, 2)
    entropy = 0.5 * math.log2(2 * math.pi * math.e * 0.04) + 7
    assert float(PixelGaussian(pixels, 0).bits(pixels, 0).mean()) == pytest.approx(entropy, abs=0.05)


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match="Fourier"):
        ScoreSdeConfig(network=SMALL, sde=VeGeometric())
    with pytest.raises(ValueError, match="snr"):
        replace(PRESETS["tiny"].config, snr=0.0)
    for wrong in ({"steps": 0}, {"tolerance": 1.0}, {"probes": 0}, {"snr": 2.0}, {"inputs": ("a.png",)}):
        with pytest.raises(RequestError):
            ScoreSdeRequest(**wrong)
    with pytest.raises(RequestError, match="needs a picture"):
        infer(model("vp"), ScoreSdeRequest(mode=Mode.LIKELIHOOD), lambda _: None)
