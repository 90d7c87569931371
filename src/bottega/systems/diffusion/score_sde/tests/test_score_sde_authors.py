"""NCSN++ and DDPM++ against what the authors' code gave, and their files."""

import json

import pytest
import torch
from diffusers.models.downsampling import FirDownsample2D
from diffusers.models.upsampling import FirUpsample2D
from record_ncsnpp_goldens import PLACE, SIZES, fill, inputs

from bottega.errors import RequestError, WeightsError
from bottega.networks import Ncsnpp, ncsnpp_keys
from bottega.networks.ncsnpp import Resampled, double_side, halve_side
from bottega.room import Checkpoint
from bottega.systems.diffusion.score_sde.checkpoints import read_authors, write_authors
from bottega.systems.diffusion.score_sde.config import PRESETS
from bottega.systems.diffusion.score_sde.model import ScoreSde
from bottega.weights import read_tensors, to_ours, to_theirs

GOLDENS = json.loads(PLACE.read_text())


def filled(name: str) -> tuple[Ncsnpp, dict[str, torch.Tensor]]:
    """Our network with the recorded run's random weights, and these by the authors' names."""
    theirs = fill({key: tuple(shape) for key, shape in GOLDENS[name]["shapes"].items()})
    network = Ncsnpp(SIZES[name]).eval()
    network.load_state_dict(to_ours(ncsnpp_keys(SIZES[name]), theirs))
    return network, theirs


@pytest.mark.parametrize("name", SIZES)
def test_the_network_is_the_authors(name):
    network, theirs = filled(name)
    with torch.no_grad():
        out = network(*inputs())
    wanted = torch.tensor(GOLDENS[name]["every seventh"])
    torch.testing.assert_close(out.flatten()[::7], wanted, rtol=2e-4, atol=2e-4)
    assert float(wanted.abs().mean()) > 0.05
    back = to_theirs(ncsnpp_keys(SIZES[name]), network.state_dict())
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[key], theirs[key]) for key in back)


@pytest.mark.parametrize("part", ["down.0.blocks.0.norm2", "middle_attention.inner.norm", "time2"])
def test_a_changed_weight_is_seen(part):
    network, _ = filled("ncsnpp-cifar10")
    with torch.no_grad():
        network.get_submodule(part).weight.add_(0.5)
        out = network(*inputs())
    wanted = torch.tensor(GOLDENS["ncsnpp-cifar10"]["every seventh"])
    assert not torch.allclose(out.flatten()[::7], wanted, rtol=2e-4, atol=2e-4)


def test_filtered_resampling_is_diffusers():
    x = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(halve_side(x, fir=True), FirDownsample2D(4, 4)(x))
    torch.testing.assert_close(double_side(x, fir=True), FirUpsample2D(4, 4)(x))
    down, their_down = Resampled(4, 6, up=False, fir=True), FirDownsample2D(4, 6, use_conv=True)
    down.conv.load_state_dict(their_down.Conv2d_0.state_dict())
    torch.testing.assert_close(down(x), their_down(x))
    up, their_up = Resampled(4, 6, up=True, fir=True), FirUpsample2D(4, 6, use_conv=True)
    up.conv.load_state_dict(their_up.Conv2d_0.state_dict())
    torch.testing.assert_close(up(x), their_up(x))


@pytest.mark.parametrize("preset", ["tiny", "tiny-ve"])
def test_the_authors_file_comes_back_unchanged(preset, tmp_path):
    config, model = PRESETS[preset].config, ScoreSde(PRESETS[preset].config)
    write_authors(Checkpoint(config=config, tensors=model.state_dict()), tmp_path / "a.safetensors")
    theirs = read_tensors(tmp_path / "a.safetensors")
    assert all(key.startswith("module.") for key in theirs)
    assert float(theirs["module.sigmas"][0]) == pytest.approx(50.0)
    read = read_authors(tmp_path / "a.safetensors", config)
    assert all(torch.equal(read.tensors[key], value) for key, value in model.state_dict().items())
    with pytest.raises(RequestError, match="--preset"):
        read_authors(tmp_path / "a.safetensors", None)
    with pytest.raises(WeightsError):
        read_authors(tmp_path / "a.safetensors", PRESETS["cifar10-ddpmpp-vp"].config)


@pytest.mark.parametrize("preset", ["tiny", "tiny-ve"])
def test_the_averages_of_a_published_checkpoint_are_taken(preset, tmp_path):
    config, model = PRESETS[preset].config, ScoreSde(PRESETS[preset].config)
    write_authors(Checkpoint(config=config, tensors=model.state_dict()), tmp_path / "a.safetensors")
    theirs = read_tensors(tmp_path / "a.safetensors")
    fixed = {"module.sigmas", "module.all_modules.0.W"}
    shadow = [value + 1 for key, value in theirs.items() if key not in fixed]
    file = {"optimizer": {"state": {}}, "model": theirs, "ema": {"decay": 0.999, "shadow_params": shadow}, "step": 3}
    torch.save(file, tmp_path / "a.pth")
    read = read_authors(tmp_path / "a.pth", config).tensors
    same = {key for key, value in model.state_dict().items() if torch.equal(read[key], value)}
    assert all("frequencies" in key for key in same)
    assert all(torch.equal(read[key], v + 1) for key, v in model.state_dict().items() if key not in same)
    file["ema"]["shadow_params"] = shadow[1:]
    torch.save(file, tmp_path / "short.pth")
    with pytest.raises(WeightsError, match="averages that do not fit"):
        read_authors(tmp_path / "short.pth", config)
