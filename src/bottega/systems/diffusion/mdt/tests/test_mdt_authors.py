"""MDT and MDTv2 against their authors' code, every parameter randomised.

The numbers below were made with sail-sg/MDT (branches mdtv1 and main) and facebookresearch/DiT, `models.py` of each, by
this script (torch 2.13, CPU):

    def fill(model, std, seed=0):
        generator = torch.Generator().manual_seed(seed)
        for name, p in sorted(model.state_dict().items()):
            if p.is_floating_point(): p.copy_(std * torch.randn(p.shape, generator=generator))
    size = dict(input_size=8, patch_size=2, in_channels=3, hidden_size=16, num_heads=2, num_classes=6, depth=6)
    model = dit.DiT(**size)                                       # "dit": pos_embed is put back after filling
    model = v1.MDT(mask_ratio=0.3, decode_layer=2, **size)                                                   # "mdt"
    model = v2.MDTv2(mask_ratio=0.3, decode_layer=2, **size)                                               # "mdtv2"
    fill(model, 0.3)
    generator = torch.Generator().manual_seed(1)
    x, noise = torch.randn(2, 3, 8, 8, generator=generator), torch.rand(2, 16, generator=generator)
    y = model.eval()(x, torch.tensor([3., 871.]), torch.tensor([4, 6]))       # and with enable_mask=True, torch.rand
    f = y.flatten(); print(f[torch.linspace(0, len(f) - 1, 8).long()], f.norm())  # giving 0.5 and then `noise`
"""

from __future__ import annotations

import pytest
import torch
from diffusers import DiTTransformer2DModel

from bottega.errors import FileError, RequestError, WeightsError
from bottega.networks import AutoencoderKlConfig, DitConfig, as_diffusers
from bottega.room import Checkpoint
from bottega.systems.diffusion.mdt.checkpoints import (
    DIFFUSERS,
    network_table,
    read_authors,
    write_authors,
)
from bottega.systems.diffusion.mdt.config import MacroDesign, MaskedDesign, MdtConfig, PlainDesign
from bottega.systems.diffusion.mdt.model import Masking, MdtPipeline
from bottega.weights import load_into, to_ours, to_theirs, write_tensors

TRUNK = DitConfig(size=8, channels=3, patch_size=2, width=16, depth=6, num_heads=2, classes=6)
CONFIGS = {
    "dit": MdtConfig(trunk=TRUNK, design=PlainDesign()),
    "mdt": MdtConfig(trunk=TRUNK, design=MaskedDesign(decode_layers=2)),
    "mdtv2": MdtConfig(trunk=TRUNK, design=MacroDesign(decode_layers=2)),
}
WHOLE = {
    "dit": ([-0.38754722476005554, 4.309372425079346, -1.2915217876434326, 1.5824687480926514, 1.465472936630249,
             1.7425756454467773, 1.8741474151611328, -0.7060154676437378], 107.31535339355469),
    "mdt": ([-1.5243321657180786, 4.581099987030029, 0.4894239902496338, 3.189387798309326, -3.2284352779388428,
             2.5165274143218994, -5.996421813964844, 1.1077091693878174], 83.19123840332031),
    "mdtv2": ([1.505979299545288, -3.344512462615967, 3.433981418609619, -0.06730334460735321, -4.927124500274658,
               -5.965216159820557, 2.5141823291778564, 6.312427997589111], 138.36831665039062),
}  # fmt: skip
MASKED = {
    "mdt": (0.3, [-1.5751652717590332, 3.874192714691162, 0.3403502404689789, 3.1801583766937256, -3.947206974029541,
                  2.5426366329193115, -6.510453224182129, 0.762889564037323], 88.12686157226562),
    "mdtv2": (0.4, [1.5414068698883057, -1.3441340923309326, 4.733916759490967, 1.2655822038650513, -6.582223892211914,
                    -5.496456146240234, 8.781076431274414, 4.034039497375488], 126.0376968383789),
}  # fmt: skip


def filled(theirs):
    """The same names and shapes with the script's values; what is counted or fixed stays."""
    generator = torch.Generator().manual_seed(0)
    values = {}
    for name, tensor in sorted(theirs.items()):
        values[name] = tensor
        if tensor.is_floating_point():
            values[name] = 0.3 * torch.randn(tensor.shape, generator=generator)
    return values


def loaded(name):
    config = CONFIGS[name]
    network = MdtPipeline(config).network.eval()
    theirs = filled(to_theirs(network_table(config), network.state_dict()))
    load_into(network, to_ours(network_table(config), theirs), source="golden")
    return network


def inputs():
    generator = torch.Generator().manual_seed(1)
    x, noise = torch.randn(2, 3, 8, 8, generator=generator), torch.rand(2, 16, generator=generator)
    return x, torch.tensor([3.0, 871.0]), torch.tensor([4, 6]), noise


def check(y, values, norm):
    flat = y.flatten()
    found = flat[torch.linspace(0, len(flat) - 1, 8).long()]
    torch.testing.assert_close(found, torch.tensor(values), rtol=1e-4, atol=1e-4)
    assert float(flat.norm()) == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize("name", WHOLE)
@torch.no_grad()
def test_whole_pictures_give_the_authors_numbers(name):
    x, time, label, _ = inputs()
    check(loaded(name)(x, time, label), *WHOLE[name])


@pytest.mark.parametrize("name", MASKED)
@torch.no_grad()
def test_masked_pictures_give_the_authors_numbers(name):
    x, time, label, noise = inputs()
    ratio, values, norm = MASKED[name]
    order = noise.argsort(dim=1)
    masking = Masking(order[:, : int(16 * (1 - ratio))], order.argsort(dim=1))
    check(loaded(name)(x, time, label, masking), values, norm)


@torch.no_grad()
def test_swapped_parts_do_not_go_unnoticed():
    x, time, label, _ = inputs()
    network = loaded("mdtv2")
    tables = [network.deep[0].positions.table, network.decoder[0].positions.table]
    tables[0].data, tables[1].data = tables[1].data, tables[0].data
    with pytest.raises(AssertionError):
        check(network(x, time, label), *WHOLE["mdtv2"])


@pytest.mark.parametrize("name", CONFIGS)
def test_files_round_trip(name, tmp_path):
    config = CONFIGS[name]
    tensors = MdtPipeline(config).state_dict()
    write_authors(Checkpoint(config=config, tensors=tensors), tmp_path / "network.safetensors")
    read = read_authors(tmp_path / "network.safetensors", config)
    assert read.tensors.keys() == tensors.keys()
    assert all(torch.equal(read.tensors[key], value) for key, value in tensors.items())
    with pytest.raises(RequestError, match="--preset"):
        read_authors(tmp_path / "network.safetensors", None)


def latent(design, trunk=TRUNK):
    small = AutoencoderKlConfig(channels=(32, 64), blocks_per_stage=1, latent_channels=3, scale=0.5)
    return MdtConfig(trunk=trunk, design=design, autoencoder=small)


def test_folders_of_latent_sizes_round_trip(tmp_path):
    config = latent(MacroDesign(decode_layers=2))
    tensors = MdtPipeline(config).state_dict()
    write_authors(Checkpoint(config=config, tensors=tensors), tmp_path / "all")
    assert sorted(place.name for place in (tmp_path / "all").iterdir()) == ["network.safetensors", "vae"]
    read = read_authors(tmp_path / "all", config)
    assert all(torch.equal(read.tensors[key], value) for key, value in tensors.items())
    (tmp_path / "all" / "network.safetensors").unlink()
    with pytest.raises(FileError, match=r"network\.pt"):
        read_authors(tmp_path / "all", config)


def test_diffusers_folders_round_trip_and_open_there(tmp_path):
    config = latent(PlainDesign(), as_diffusers(TRUNK))
    tensors = MdtPipeline(config).state_dict()
    DIFFUSERS.write(Checkpoint(config=config, tensors=tensors), tmp_path / "dit")
    read = DIFFUSERS.read(tmp_path / "dit", None)
    assert read.config.trunk == config.trunk
    assert read.config.autoencoder is not None
    assert all(torch.equal(read.tensors[key], value) for key, value in tensors.items())
    peer = DiTTransformer2DModel.from_pretrained(tmp_path / "dit" / "transformer").eval()
    network = MdtPipeline(config).eval()
    network.load_state_dict(tensors)
    x, time, label, _ = inputs()
    with torch.no_grad():
        theirs = peer(x, timestep=time, class_labels=label).sample
        torch.testing.assert_close(network.network(x, time, label), theirs, rtol=1e-5, atol=1e-5)
    with pytest.raises(WeightsError, match="MacroDesign"):
        DIFFUSERS.write(Checkpoint(config=CONFIGS["mdtv2"], tensors={}), tmp_path / "other")


def test_positions_counted_otherwise_are_refused(tmp_path):
    config = CONFIGS["mdt"]
    theirs = to_theirs(network_table(config), MdtPipeline(config).network.state_dict())
    theirs["blocks.0.attn.rel_pos_bias.relative_position_index"] += 1
    write_tensors(tmp_path / "network.safetensors", theirs)
    with pytest.raises(WeightsError, match="relative positions"):
        read_authors(tmp_path / "network.safetensors", config)
