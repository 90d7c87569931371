"""U-ViT against its authors' code, every parameter randomised.

The numbers below were made with baofff/U-ViT at its main branch, by this script in its root (torch 2.13, CPU):

    import torch, libs.uvit as plain, libs.uvit_t2i as text
    def fill(model, std, seed=0):
        generator = torch.Generator().manual_seed(seed)
        for name, p in sorted(model.state_dict().items()):
            p.data.copy_(std * torch.randn(p.shape, generator=generator) + ("norm" in name and name.endswith("weight")))
    model = plain.UViT(img_size=8, patch_size=2, in_chans=3, embed_dim=16, depth=4, num_heads=2, num_classes=6,
                       mlp_time_embed=True)                                                                # "class"
    model = plain.UViT(img_size=8, patch_size=4, in_chans=4, embed_dim=16, depth=2, num_heads=4, conv=False)  # "plain"
    model = text.UViT(img_size=8, patch_size=2, in_chans=4, embed_dim=16, depth=4, num_heads=2, clip_dim=6,
                      num_clip_token=5)                                                                    # "text"
    fill(model, 0.2)
    generator = torch.Generator().manual_seed(1)
    x, time = torch.randn(2, channels, 8, 8, generator=generator), torch.tensor([3.5, 871.0])
    states = torch.randn(2, 5, 6, generator=generator)                        # "class" is told torch.tensor([4, 1])
    y = model(x, time, ...).flatten();  print(y[torch.linspace(0, len(y) - 1, 8).long()], y.norm())

and for the autoencoder with `Encoder` and `Decoder` of libs/autoencoder.py for ch=32, ch_mult=[1, 2, 2],
num_res_blocks=1, z_channels=4, resolution=16, quant_conv and post_quant_conv around them, filled with std 0.05.
"""

from __future__ import annotations

import zipfile
from dataclasses import replace

import pytest
import torch

from bottega.errors import FileError, RequestError, WeightsError
from bottega.networks import (
    AutoencoderKl,
    AutoencoderKlConfig,
    ClipTextConfig,
    UVitTrunkConfig,
    compvis_autoencoder_keys,
)
from bottega.room import Checkpoint
from bottega.systems.diffusion.uvit.checkpoints import (
    network_table,
    read_authors,
    write_authors,
)
from bottega.systems.diffusion.uvit.config import ClassCondition, NoCondition, TextCondition, UVitConfig
from bottega.systems.diffusion.uvit.model import UVit, UVitPipeline
from bottega.tokenizers import BpeTokenizer
from bottega.weights import load_into, to_ours, to_theirs

DEEP = UVitTrunkConfig(width=16, depth=4, num_heads=2)
LATENTS = AutoencoderKlConfig(channels=(32, 64, 64), blocks_per_stage=1, scale=0.5)
TOWER = ClipTextConfig(vocabulary=60, context=5, width=6, depth=1, num_heads=2, end_token=1)
CONFIGS = {
    "class": UVitConfig(
        trunk=DEEP, size=8, patch_size=2, condition=ClassCondition(classes=6, null=False), time_mlp=True
    ),
    "plain": UVitConfig(
        trunk=UVitTrunkConfig(width=16, depth=2, num_heads=4), size=8, channels=4, patch_size=4, final_conv=False,
        condition=NoCondition(), autoencoder=LATENTS,
    ),
    "text": UVitConfig(
        trunk=DEEP, size=8, channels=4, patch_size=2, condition=TextCondition(dim=6, tokens=5), autoencoder=LATENTS,
        text=TOWER,
    ),
}  # fmt: skip

GOLDEN = {
    "class": ([-0.3154442012310028, -0.3307238221168518, -1.806107759475708, 0.2736969292163849, -0.7349938750267029,
               0.34447240829467773, -0.37516966462135315, 0.19050462543964386], 11.175808906555176),
    "plain": ([0.9089703559875488, -1.9630085229873657, -0.20725063979625702, 0.6763020157814026, 0.800442099571228,
               -0.5863945484161377, 0.9498226642608643, 0.43906837701797485], 19.790935516357422),
    "text": ([1.484981656074524, -0.4276990294456482, -0.4877912998199463, 0.7913343906402588, 2.049901247024536,
              0.6061341166496277, -0.5783101916313171, 0.17212893068790436], 19.336589813232422),
}  # fmt: skip

MEAN = [0.041281212121248245, 0.06196169927716255, 0.011583788320422173, -0.0029859989881515503,
        -0.052698712795972824, -0.016536520794034004]  # fmt: skip
DECODED = [0.06939283013343811, -0.04408613592386246, -0.47554242610931396, -0.7517622709274292, -0.8308711647987366,
           0.4091033637523651]  # fmt: skip
AUTOENCODER_TENSORS = 152

BLOCK = {
    "norm1.weight": (16,), "norm1.bias": (16,), "attn.qkv.weight": (48, 16), "attn.proj.weight": (16, 16),
    "attn.proj.bias": (16,), "norm2.weight": (16,), "norm2.bias": (16,), "mlp.fc1.weight": (64, 16),
    "mlp.fc1.bias": (64,), "mlp.fc2.weight": (16, 64), "mlp.fc2.bias": (16,),
}  # fmt: skip
SKIP = {"skip_linear.weight": (16, 32), "skip_linear.bias": (16,)}
CLASS_SHAPES = {
    "pos_embed": (1, 18, 16), "patch_embed.proj.weight": (16, 3, 2, 2), "patch_embed.proj.bias": (16,),
    "time_embed.0.weight": (64, 16), "time_embed.0.bias": (64,), "time_embed.2.weight": (16, 64),
    "time_embed.2.bias": (16,), "label_emb.weight": (6, 16),
    **{f"{block}.{key}": shape for block in ("in_blocks.0", "in_blocks.1", "mid_block", "out_blocks.0", "out_blocks.1")
       for key, shape in BLOCK.items()},
    **{f"out_blocks.{i}.{key}": shape for i in range(2) for key, shape in SKIP.items()},
    "norm.weight": (16,), "norm.bias": (16,), "decoder_pred.weight": (12, 16), "decoder_pred.bias": (12,),
    "final_layer.weight": (3, 3, 3, 3), "final_layer.bias": (3,),
}  # fmt: skip
"""What the authors' class-conditional network of this size holds."""


def filled(theirs, std):
    """The same names and shapes with the script's values."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: std * torch.randn(tensor.shape, generator=generator) + float("norm" in name and name.endswith("weight"))
        for name, tensor in sorted(theirs.items())
    }


def loaded(config, change=None):
    """Our network with the script's values, read through the key table; and those values under the authors' names."""
    network = UVit(config).eval()
    theirs = filled(to_theirs(network_table(config), network.state_dict()), 0.2)
    if change is not None:
        change(theirs)
    load_into(network, to_ours(network_table(config), theirs), source="golden")
    return network, theirs


@torch.no_grad()
def output(name, network):
    generator = torch.Generator().manual_seed(1)
    config = network.config
    x = torch.randn(2, config.channels, 8, 8, generator=generator)
    states = torch.randn(2, 5, 6, generator=generator)
    condition = {"class": torch.tensor([4, 1]), "plain": None, "text": states}[name]
    return network(x, torch.tensor([3.5, 871.0]), condition).flatten()


def picked(y, count=8):
    return y[torch.linspace(0, len(y) - 1, count).long()]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_network_equals_the_authors(name):
    network, _ = loaded(CONFIGS[name])
    y, (values, norm) = output(name, network), GOLDEN[name]
    torch.testing.assert_close(picked(y), torch.tensor(values), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(y.norm().item(), norm, rtol=1e-5, atol=0)


def test_names_and_shapes_are_the_authors():
    _, theirs = loaded(CONFIGS["class"])
    assert {key: tuple(tensor.shape) for key, tensor in theirs.items()} == CLASS_SHAPES


@pytest.mark.parametrize("pair", [("in_blocks.1.norm1.weight", "in_blocks.1.norm2.weight"),
                                  ("out_blocks.0.skip_linear.weight", "out_blocks.1.skip_linear.weight")])  # fmt: skip
def test_a_planted_mutation_is_seen(pair):
    """Two tensors of one shape changed places: the mistakes that loading without error would hide."""

    def swap(theirs):
        theirs[pair[0]], theirs[pair[1]] = theirs[pair[1]], theirs[pair[0]]

    network, _ = loaded(CONFIGS["class"], swap)
    assert (picked(output("class", network)) - torch.tensor(GOLDEN["class"][0])).abs().max() > 1e-2


@torch.no_grad()
def test_the_autoencoder_equals_the_authors():
    autoencoder = AutoencoderKl(LATENTS).eval()
    theirs = filled(to_theirs(compvis_autoencoder_keys(LATENTS), autoencoder.state_dict()), 0.05)
    assert len(theirs) == AUTOENCODER_TENSORS
    load_into(autoencoder, to_ours(compvis_autoencoder_keys(LATENTS), theirs), source="golden")
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    latents = autoencoder.to_latents(picture)
    torch.testing.assert_close(picked(latents.flatten(), 6), torch.tensor(MEAN), rtol=1e-5, atol=1e-5)
    made = autoencoder.from_latents(latents)
    torch.testing.assert_close(picked(made.flatten(), 6), torch.tensor(DECODED), rtol=1e-5, atol=1e-5)


def pipeline(name):
    torch.manual_seed(3)
    model = UVitPipeline(CONFIGS[name])
    if name == "text":
        model.attach({"tokenizer": BpeTokenizer.trained(("red apple", "green pear", "a cat") * 3, 60).to_json()})
    return model


def checkpoint(model):
    return Checkpoint(config=model.config, tensors=dict(model.state_dict()), assets=model.assets())


@pytest.mark.parametrize("name", CONFIGS)
def test_files_read_back_bit_for_bit(name, tmp_path):
    model = pipeline(name)
    place = tmp_path / ("nnet.safetensors" if name == "class" else "folder")
    write_authors(checkpoint(model), place)
    back = read_authors(place, model.config)
    assert back.assets == model.assets()
    assert back.tensors.keys() == model.state_dict().keys()
    assert all(torch.equal(back.tensors[key], tensor) for key, tensor in model.state_dict().items())


def test_a_published_pth_is_read(tmp_path):
    network, theirs = loaded(CONFIGS["class"])
    torch.save(theirs, tmp_path / "cifar.pth")
    assert zipfile.is_zipfile(tmp_path / "cifar.pth")
    for place in (tmp_path / "cifar.pth", tmp_path / "as_folder"):
        if place.suffix == "":
            place.mkdir()
            torch.save(theirs, place / "nnet.pth")
        back = read_authors(place, CONFIGS["class"])
        assert torch.equal(
            back.tensors["network.trunk.skips.1.linear.weight"], theirs["out_blocks.1.skip_linear.weight"]
        )
        assert torch.equal(back.tensors["network.pos_embed"], network.pos_embed)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(RequestError, match="--preset"):
        read_authors(tmp_path / "nnet.pth", None)
    with pytest.raises(FileError, match="must be a folder"):
        read_authors(tmp_path / "nnet.pth", CONFIGS["text"])
    with pytest.raises(FileError, match=r"nnet_ema\.pth"):
        read_authors(tmp_path, CONFIGS["text"])
    model = pipeline("text")
    write_authors(checkpoint(model), tmp_path / "whole")
    (tmp_path / "whole" / "autoencoder_kl.safetensors").unlink()
    with pytest.raises(FileError, match=r"autoencoder_kl\.pth"):
        read_authors(tmp_path / "whole", CONFIGS["text"])


def test_another_size_is_refused(tmp_path):
    write_authors(checkpoint(pipeline("class")), tmp_path / "nnet.safetensors")
    deeper = replace(CONFIGS["class"], trunk=replace(DEEP, depth=6), time_mlp=False)
    with pytest.raises(WeightsError, match="time_embed"):
        read_authors(tmp_path / "nnet.safetensors", deeper)
