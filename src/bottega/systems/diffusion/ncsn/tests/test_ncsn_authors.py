"""NCSN and NCSNv2 against their authors' code, every parameter randomised.

The numbers below were made with ermongroup/ncsnv2 at its main branch, by this script in its root (torch 2.13, CPU):

    import torch
    from types import SimpleNamespace as N
    from models.ncsn import NCSN
    from models.ncsnv2 import NCSNv2, NCSNv2Deeper, NCSNv2Deepest
    def config(channels, levels, first):
        return N(device="cpu", data=N(image_size=16, channels=channels, logit_transform=False, rescaled=False),
                 model=N(ngf=4, num_classes=levels, nonlinearity="elu", normalization="InstanceNorm++",
                         sigma_dist="geometric", sigma_begin=first, sigma_end=0.01, spec_norm=False))
    for model in (NCSN(config(3, 5, 1.0)), NCSNv2(config(3, 7, 9.0)), NCSNv2Deeper(config(1, 7, 9.0)),
                  NCSNv2Deepest(config(3, 7, 9.0))):
        generator = torch.Generator().manual_seed(0)
        for name, p in sorted(model.named_parameters()):
            p.data.copy_(0.3 * torch.randn(p.shape, generator=generator) + (p.ndim == 1))
        generator = torch.Generator().manual_seed(1)
        x = torch.rand(2, model.config.data.channels, 16, 16, generator=generator)
        y = model(x, torch.tensor([1, 4])).flatten()
        print(y[torch.linspace(0, len(y) - 1, 8).long()], y.norm(), len(model.state_dict()))

Their NCSN is that of ermongroup/ncsn (`CondRefineNetDilated`), whose parameters have the same names.
"""

from __future__ import annotations

import pytest
import torch

from bottega.errors import RequestError, WeightsError
from bottega.processes.diffusion import NoiseLevels
from bottega.room import Checkpoint
from bottega.systems.diffusion.ncsn.checkpoints import key_table, read_authors, write_authors
from bottega.systems.diffusion.ncsn.config import DEEPER, DEEPEST, USUAL, NcsnConfig
from bottega.systems.diffusion.ncsn.model import Ncsn
from bottega.weights import load_into, to_ours, to_theirs


def small(count, first, **changes):
    levels = NoiseLevels(first=first, last=0.01, count=count, step=2e-5, steps_per_level=1)
    return NcsnConfig(**{"size": 16, "width": 4, "levels": levels} | changes)


CONFIGS = {
    "ncsn": small(5, 1.0, conditional=True, denoise=False),
    "v2": small(7, 9.0, stages=USUAL),
    "v2-deeper": small(7, 9.0, stages=DEEPER, channels=1),
    "v2-deepest": small(7, 9.0, stages=DEEPEST),
}

GOLDEN = {  # eight numbers of the score, its norm, tensors in the file
    "ncsn": ([1.1952507495880127, 0.0729634165763855, 2.122426986694336, 1.2915838956832886,
        -0.3631553649902344, 1.2834357023239136, 1.6967614889144897, 0.8889983296394348],
        49.623077392578125, 173),
    "v2": ([1.3590986728668213, 1.566800594329834, -0.3903018832206726, 1.5633794069290161,
        56.34336853027344, -2.77315354347229, 22.205585479736328, -1.5955736637115479],
        1437.154296875, 154),
    "v2-deeper": ([1.5432279109954834, -0.17742837965488434, -0.8083094358444214, -1.0127638578414917,
        -6.7375311851501465, -2.3227312564849854, -24.096466064453125, -13.338854789733887],
        428.6260070800781, 192),
    "v2-deepest": ([-0.5555510520935059, -0.7070221304893494, -0.14542952179908752, 0.8426385521888733,
        -14.150309562683105, 9.815590858459473, 11.041309356689453, 11.938432693481445],
        735.6624755859375, 230),
}  # fmt: skip


def filled(theirs):
    """The same names and shapes with the script's values; buffers stay."""
    generator = torch.Generator().manual_seed(0)
    values = {}
    for name, tensor in sorted(theirs.items()):
        values[name] = tensor
        if name != "sigmas":
            values[name] = 0.3 * torch.randn(tensor.shape, generator=generator) + float(tensor.ndim == 1)
    return values


def loaded(config, change=None):
    model = Ncsn(config).eval()
    theirs = filled(to_theirs(key_table(config), model.state_dict()))
    if change is not None:
        change(theirs)
    load_into(model, to_ours(key_table(config), theirs), source="golden")
    return model, theirs


@torch.no_grad()
def answer(model):
    x = torch.rand(2, model.config.channels, 16, 16, generator=torch.Generator().manual_seed(1))
    y = model(x, torch.tensor([1, 4])).flatten()
    return y[torch.linspace(0, len(y) - 1, 8).long()], y.norm()


@pytest.mark.parametrize("name", CONFIGS)
def test_equal_to_the_authors(name):
    model, theirs = loaded(CONFIGS[name])
    expected, norm, tensors = GOLDEN[name]
    got, size = answer(model)
    assert len(theirs) == tensors
    torch.testing.assert_close(got, torch.tensor(expected), rtol=2e-5, atol=2e-4)
    torch.testing.assert_close(size.item(), norm, rtol=1e-5, atol=0)


@pytest.mark.parametrize("part", ["res2.0.shortcut.conv.bias", "refine3.crp.convs.1.weight", "normalizer.alpha"])
def test_a_planted_error_is_seen(part):
    def plant(theirs):
        theirs[part] = theirs[part] + 0.05

    expected = torch.tensor(GOLDEN["v2"][0])
    assert not torch.allclose(answer(loaded(CONFIGS["v2"], plant)[0])[0], expected, rtol=2e-5, atol=2e-4)


def test_swapped_scale_and_share_are_seen():
    def swap(theirs):
        for name in [name for name in theirs if name.endswith("embed.weight")]:
            gamma, alpha, beta = theirs[name].chunk(3, dim=1)
            theirs[name] = torch.cat((alpha, gamma, beta), dim=1)

    expected = torch.tensor(GOLDEN["ncsn"][0])
    assert not torch.allclose(answer(loaded(CONFIGS["ncsn"], swap)[0])[0], expected, rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_files_go_both_ways(name, tmp_path):
    model, theirs = loaded(CONFIGS[name])
    checkpoint = Checkpoint(config=CONFIGS[name], tensors=model.state_dict())
    write_authors(checkpoint, tmp_path / "scores.safetensors")
    again = read_authors(tmp_path / "scores.safetensors", CONFIGS[name])
    assert all(torch.equal(again.tensors[key], value) for key, value in checkpoint.tensors.items())
    torch.save({f"module.{key}": value for key, value in theirs.items()}, tmp_path / "scores.pth")
    parallel = read_authors(tmp_path / "scores.pth", CONFIGS[name])
    assert parallel.tensors.keys() == again.tensors.keys()
    assert all(torch.equal(parallel.tensors[key], value) for key, value in again.tensors.items())


@pytest.mark.parametrize("averaged", [False, True])
def test_lists_of_training_runs_are_read_as_published(averaged, tmp_path):
    model, theirs = loaded(CONFIGS["v2"])
    states = [{f"module.{key}": value for key, value in theirs.items()}, {"state": {}, "param_groups": []}, 7, 1000]
    averages = {key: value + 1 for key, value in theirs.items() if key != "sigmas"}
    torch.save([*states, averages] if averaged else states, tmp_path / "checkpoint.pth")
    read = read_authors(tmp_path / "checkpoint.pth", CONFIGS["v2"]).tensors
    moved = {key for key, value in model.state_dict().items() if not torch.equal(read[key], value)}
    assert moved == ({key for key in read if key != "sigmas"} if averaged else set())
    assert not averaged or all(torch.equal(read[key], model.state_dict()[key] + 1) for key in moved)


def test_a_wrong_size_is_refused(tmp_path):
    model, _ = loaded(CONFIGS["v2"])
    write_authors(Checkpoint(config=CONFIGS["v2"], tensors=model.state_dict()), tmp_path / "v2.safetensors")
    with pytest.raises(WeightsError):
        read_authors(tmp_path / "v2.safetensors", CONFIGS["ncsn"])
    with pytest.raises(RequestError, match="--preset"):
        read_authors(tmp_path / "v2.safetensors", None)
