"""UniDiffuser against its authors' code, every parameter randomised, and in their files.

The numbers below were made with thu-ml/unidiffuser at its main branch, by this script in its root (torch 2.13, CPU):

    import torch, libs.uvit_multi_post_ln as v0, libs.uvit_multi_post_ln_v1 as v1
    def fill(model, std):
        generator = torch.Generator().manual_seed(0)
        for name, p in sorted(model.state_dict().items()):
            p.data.copy_(std * torch.randn(p.shape, generator=generator) + ("norm" in name and name.endswith("weight")))
    size = dict(img_size=4, in_chans=4, patch_size=2, embed_dim=16, depth=4, num_heads=2, text_dim=6,
                num_text_tokens=5, clip_img_dim=8)
    for module in (v0, v1):
        model = module.UViT(**size).eval()
        fill(model, 0.2)
        g = torch.Generator().manual_seed(1)
        given = (torch.randn(2, 4, 4, 4, generator=g), torch.randn(2, 1, 8, generator=g),
                 torch.randn(2, 5, 6, generator=g), torch.tensor([3., 871.]), torch.tensor([500., 20.]))
        y = model(*given, *((torch.tensor([0, 1]),) if module is v1 else ()))
        y = torch.cat([part.flatten() for part in y]);  print(y[torch.linspace(0, len(y) - 1, 8).long()], y.norm())
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bottega.errors import FileError, WeightsError
from bottega.networks import (
    AutoencoderKlConfig,
    BlockNorm,
    CaptionDecoderConfig,
    ClipTextConfig,
    ClipVisionConfig,
    Gpt2Config,
    UVitTrunkConfig,
)
from bottega.room import Checkpoint
from bottega.systems.diffusion.unidiffuser.checkpoints import (
    authors_joint_table,
    read_authors,
    write_authors,
)
from bottega.systems.diffusion.unidiffuser.config import PRESETS, JointUVitConfig, UniDiffuserConfig
from bottega.systems.diffusion.unidiffuser.model import JointUVit, Signals, UniDiffuser
from bottega.tokenizers import BpeTokenizer
from bottega.weights import load_into, to_ours, to_theirs

JOINT = JointUVitConfig(
    trunk=UVitTrunkConfig(width=16, depth=4, num_heads=2, norm=BlockNorm.POST),
    latent_size=4, picture_dim=8, text_tokens=5, text_dim=6,
)  # fmt: skip
GOLDEN = {
    "v0": ([0.020079873502254486, -0.056163616478443146, 0.6627384424209595, 0.2741554379463196, 0.17786411941051483,
            -0.18105122447013855, -1.2461515665054321, 0.8199845552444458], 14.171296119689941, 78),
    "v1": ([0.08510033786296844, -0.03973429650068283, 0.6580510139465332, 0.3691385090351105, 0.2631877362728119,
            0.5398815870285034, -0.15344619750976562, -0.1743418574333191], 12.810891151428223, 80),
}  # fmt: skip


def network(name: str, swap: tuple[str, str] | None = None) -> tuple[JointUVit, int]:
    """The network with the script's values, read through the key table; and how many tensors the authors' has."""
    model = JointUVit(replace(JOINT, data_type=name == "v1")).eval()
    table = authors_joint_table(model.config)
    generator = torch.Generator().manual_seed(0)
    theirs = {
        key: 0.2 * torch.randn(value.shape, generator=generator) + float("norm" in key and key.endswith("weight"))
        for key, value in sorted(to_theirs(table, model.state_dict()).items())
    }
    if swap is not None:
        theirs[swap[0]], theirs[swap[1]] = theirs[swap[1]], theirs[swap[0]]
    load_into(model, to_ours(table, theirs), source="golden")
    return model, len(theirs)


@torch.no_grad()
def output(name: str, model: JointUVit) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    latent, picture, text = (torch.randn(shape, generator=generator) for shape in ((2, 4, 4, 4), (2, 1, 8), (2, 5, 6)))
    kind = torch.tensor([0, 1]) if name == "v1" else None
    made = model(
        Signals(latent=latent, picture=picture[:, 0], text=text), torch.tensor([3.0, 871.0]),
        torch.tensor([500.0, 20.0]), kind,
    )  # fmt: skip
    return torch.cat([part.flatten() for part in (made.latent, made.picture, made.text)])


@pytest.mark.parametrize("name", GOLDEN)
def test_the_joint_network_equals_the_authors(name: str) -> None:
    model, count = network(name)
    y, (values, norm, tensors) = output(name, model), GOLDEN[name]
    assert count == tensors
    torch.testing.assert_close(y[torch.linspace(0, len(y) - 1, 8).long()], torch.tensor(values), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(y.norm().item(), norm, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "swap",
    [("in_blocks.1.norm2.weight", "in_blocks.1.norm3.weight"), ("out_blocks.0.norm1.bias", "out_blocks.0.norm2.bias")],
)
def test_a_planted_mutation_is_seen(swap: tuple[str, str]) -> None:
    model, _ = network("v0", swap)
    y = output("v0", model)
    assert (y[torch.linspace(0, len(y) - 1, 8).long()] - torch.tensor(GOLDEN["v0"][0])).abs().max() > 1e-2


@pytest.fixture(scope="module")
def pipeline() -> UniDiffuser:
    config = UniDiffuserConfig(
        joint=replace(JOINT, latent_size=8, data_type=True),
        autoencoder=AutoencoderKlConfig(channels=(8, 16, 24), groups=4),
        text=ClipTextConfig(vocabulary=80, context=5, width=16, depth=1, num_heads=2, end_token=1),
        vision=ClipVisionConfig(size=32, patch_size=8, width=24, depth=1, num_heads=3, embedding=8),
        caption=CaptionDecoderConfig(
            prefix_length=5, prefix_dim=16, hidden_dim=6,
            gpt2=Gpt2Config(vocabulary=80, context=40, width=16, depth=1, num_heads=2),
        ),
    )  # fmt: skip
    torch.manual_seed(2)
    model = UniDiffuser(config)
    tokenizer = BpeTokenizer.trained(("a red apple", "two green pears", "a sleeping cat") * 3, 80)
    model.attach({"text_tokenizer": tokenizer.to_json()})
    return model.eval()


def checkpoint(model: UniDiffuser) -> Checkpoint:
    return Checkpoint(config=model.config, tensors=dict(model.state_dict()), assets=model.assets())


def test_files_read_back_bit_for_bit(pipeline: UniDiffuser, tmp_path: Path) -> None:
    write_authors(checkpoint(pipeline), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "uvit_v1.safetensors", "autoencoder_kl.safetensors", "caption_decoder.safetensors", "clip-vit-large-patch14",
        "clip-vit-base-patch32", "gpt2",
    }  # fmt: skip
    back = read_authors(tmp_path, pipeline.config)
    assert back.tensors.keys() == pipeline.state_dict().keys()
    assert all(torch.equal(back.tensors[key], value) for key, value in pipeline.state_dict().items())
    for name, text in back.assets.items():
        assert BpeTokenizer.from_json(text).ids("a red cat") == pipeline.text_tokenizer.ids("a red cat"), name


def test_the_network_s_file_says_which_published_size(pipeline: UniDiffuser, tmp_path: Path) -> None:
    write_authors(checkpoint(pipeline), tmp_path)
    with pytest.raises(WeightsError):  # small tensors in the name of the large size
        read_authors(tmp_path, None)
    (tmp_path / "uvit_v1.safetensors").unlink()
    with pytest.raises(FileError, match=r"uvit_v1\.pth"):
        read_authors(tmp_path, PRESETS["v1"].config)


def test_gpt2_s_own_tokenizer_gets_the_end_of_captions(pipeline: UniDiffuser, tmp_path: Path) -> None:
    write_authors(checkpoint(pipeline), tmp_path)
    folder = tmp_path / "gpt2"
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    letters = [chr(33 + place) for place in range(78)]
    (folder / "vocab.json").write_text(
        "{"
        + ", ".join(f'"{name}": {place}' for place, name in enumerate(["<|endoftext|>", *map(_escaped, letters)]))
        + "}"
    )
    (folder / "merges.txt").write_text("#version: 0.2\n")
    found = BpeTokenizer.from_json(read_authors(tmp_path, pipeline.config).assets["caption_tokenizer"])
    assert found.end == 79
    (folder / "merges.txt").unlink()
    with pytest.raises(FileError, match=r"merges\.txt"):
        read_authors(tmp_path, pipeline.config)


def _escaped(letter: str) -> str:
    return letter.replace("\\", "\\\\").replace('"', '\\"')
