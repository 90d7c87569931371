"""The diffusion transformer against its authors' code, every parameter randomised.

The numbers below were made with guided_diffusion/vision_transformer.py of TiankaiHang/Min-SNR-Diffusion-Training at its
main branch (torch 2.13, CPU; timm's `to_2tuple` and `trunc_normal_` given by two lines):

    import torch, functools, vision_transformer as vt
    def fill(model, std, seed=0):
        generator = torch.Generator().manual_seed(seed)
        for name, p in sorted(model.state_dict().items()):
            p.data.copy_(std * torch.randn(p.shape, generator=generator) + ("norm" in name and name.endswith("weight")))
    norm = functools.partial(torch.nn.LayerNorm, eps=1e-6)
    for classes in (7, -1):
        model = vt.VisionTransformer(img_size=8, patch_size=2, in_chans=3, num_classes=classes, embed_dim=16, depth=3,
                                     num_heads=2, qkv_bias=True, norm_layer=norm, num_steps=20, use_fp16=False,
                                     drop_label_prob=0.15).eval()
        fill(model, 0.2)
        generator = torch.Generator().manual_seed(1)
        x, t, y = torch.randn(2, 3, 8, 8, generator=generator), torch.tensor([3, 17]), torch.tensor([4, 7])
        out = model(x, t, y if classes > 0 else None).flatten()
        print(out[torch.linspace(0, len(out) - 1, 8).long()].tolist(), out.norm().item())
"""

import pytest
import torch

from bottega.errors import FileError, RequestError, WeightsError
from bottega.networks import AutoencoderKlConfig, DiffusionVit, DiffusionVitConfig, diffusion_vit_keys
from bottega.room import Checkpoint
from bottega.systems.diffusion.min_snr.checkpoints import read_authors, write_authors
from bottega.systems.diffusion.min_snr.config import MinSnrConfig
from bottega.systems.diffusion.min_snr.model import MinSnrPipeline
from bottega.weights import load_into, to_ours, to_theirs


def size(classes):
    return DiffusionVitConfig(
        size=8, channels=3, patch_size=2, width=16, depth=3, num_heads=2, times=20, classes=classes
    )


GOLDEN = {
    8: ([-1.3549529314041138, -0.46624013781547546, -0.4885927140712738, -1.6184077262878418, 1.7004187107086182,
         2.5474562644958496, -2.690159797668457, -2.1386609077453613], 35.610939025878906),
    0: ([-0.5033556222915649, -0.821256160736084, -2.5498533248901367, -1.8561527729034424, -1.2794315814971924,
         0.31762969493865967, 1.6346732378005981, 0.008523835800588131], 31.50312614440918),
}  # fmt: skip

BLOCK = {
    "norm1.weight": (16,), "norm1.bias": (16,), "attn.q_bias": (16,), "attn.v_bias": (16,), "attn.qkv.weight": (48, 16),
    "attn.proj.weight": (16, 16), "attn.proj.bias": (16,), "norm2.weight": (16,), "norm2.bias": (16,),
    "mlp.fc1.weight": (64, 16), "mlp.fc1.bias": (64,), "mlp.fc2.weight": (16, 64), "mlp.fc2.bias": (16,),
}  # fmt: skip
SHAPES = {
    "pos_embed": (1, 18, 16), "patch_embed.proj.weight": (16, 3, 2, 2), "patch_embed.proj.bias": (16,),
    **{f"blocks.{i}.{name}": shape for i in range(3) for name, shape in BLOCK.items()},
    "linear_projection.weight": (12, 16), "linear_projection.bias": (12,), "class_embedding.weight": (8, 16),
    "time_embedding.weight": (20, 16),
}  # fmt: skip
"""What the authors' network of this size with classes holds."""


def filled(theirs):
    generator = torch.Generator().manual_seed(0)
    return {
        name: 0.2 * torch.randn(tensor.shape, generator=generator) + float("norm" in name and name.endswith("weight"))
        for name, tensor in sorted(theirs.items())
    }


def loaded(config, change=None):
    network = DiffusionVit(config).eval()
    theirs = filled(to_theirs(diffusion_vit_keys(config), network.state_dict()))
    if change is not None:
        change(theirs)
    load_into(network, to_ours(diffusion_vit_keys(config), theirs), source="golden")
    return network


@torch.no_grad()
def numbers(network):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 8, 8, generator=generator)
    classes = torch.tensor([4, 7]) if network.config.classes else None
    out = network(x, torch.tensor([3.0, 17.0]), classes).flatten()
    return [*out[torch.linspace(0, len(out) - 1, 8).long()].tolist(), out.norm().item()]


@pytest.mark.parametrize("classes", GOLDEN)
def test_same_numbers_as_the_authors(classes):
    values, norm = GOLDEN[classes]
    assert numbers(loaded(size(classes))) == pytest.approx([*values, norm], rel=1e-4, abs=2e-5)


def test_a_swap_of_two_norms_would_be_seen():
    def swap(theirs):
        first, second = "blocks.1.norm1.weight", "blocks.1.norm2.weight"
        theirs[first], theirs[second] = theirs[second], theirs[first]

    values, norm = GOLDEN[8]
    assert numbers(loaded(size(8), swap)) != pytest.approx([*values, norm], rel=1e-2)


def test_names_and_shapes_are_the_authors():
    theirs = to_theirs(diffusion_vit_keys(size(8)), DiffusionVit(size(8)).state_dict())
    assert {name: tuple(tensor.shape) for name, tensor in theirs.items()} == SHAPES


def test_a_name_too_many_or_too_few_is_refused():
    theirs = to_theirs(diffusion_vit_keys(size(8)), DiffusionVit(size(8)).state_dict())
    with pytest.raises(WeightsError, match="odd"):
        to_ours(diffusion_vit_keys(size(8)), {**theirs, "odd.weight": torch.zeros(1)})
    theirs.pop("time_embedding.weight")
    with pytest.raises(WeightsError, match="time_embed"):
        to_ours(diffusion_vit_keys(size(8)), theirs)


def test_latent_sizes_come_in_a_folder(tmp_path):
    network = DiffusionVitConfig(size=4, channels=4, patch_size=2, width=16, depth=1, num_heads=2, times=10, classes=3)
    latents = AutoencoderKlConfig(channels=(8, 16), blocks_per_stage=1, groups=4)
    config = MinSnrConfig(network=network, noise_levels=10, autoencoder=latents)
    model = MinSnrPipeline(config)
    write_authors(Checkpoint(config=config, tensors=model.state_dict()), tmp_path / "folder")
    read = read_authors(tmp_path / "folder", config)
    assert read.tensors.keys() == model.state_dict().keys()
    assert all(torch.equal(read.tensors[name], value) for name, value in model.state_dict().items())
    with pytest.raises(RequestError, match="preset"):
        read_authors(tmp_path / "folder", None)
    with pytest.raises(FileError, match="folder"):
        read_authors(tmp_path / "folder" / "ema.safetensors", config)
    (tmp_path / "folder" / "ema.safetensors").unlink()
    with pytest.raises(FileError, match="holds none"):
        read_authors(tmp_path / "folder", config)
