"""UniDiffuser against diffusers and transformers, every parameter randomised, through the folder layout."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bottega.errors import BottegaError
from bottega.networks import (
    AutoencoderKlConfig,
    BlockNorm,
    CaptionDecoderConfig,
    ClipTextConfig,
    ClipVisionConfig,
    Gpt2Config,
    UVitTrunkConfig,
    clip_normalise,
)
from bottega.room import Checkpoint
from bottega.systems.diffusion.unidiffuser.checkpoints import read_diffusers, write_diffusers
from bottega.systems.diffusion.unidiffuser.config import JointUVitConfig, UniDiffuserConfig
from bottega.systems.diffusion.unidiffuser.model import Signals, UniDiffuser
from bottega.tokenizers import BpeTokenizer
from bottega.weights import load_into

VOCABULARY = 120

SMALL = UniDiffuserConfig(
    joint=JointUVitConfig(
        trunk=UVitTrunkConfig(width=32, depth=4, num_heads=4, norm=BlockNorm.POST),
        latent_size=8,
        picture_dim=12,
        text_tokens=9,
        text_dim=6,
        data_type=True,
    ),
    autoencoder=AutoencoderKlConfig(channels=(8, 16, 24), groups=4),
    text=ClipTextConfig(vocabulary=VOCABULARY, context=9, width=16, depth=2, num_heads=2, end_token=1),
    vision=ClipVisionConfig(size=32, patch_size=8, width=24, depth=2, num_heads=3, embedding=12),
    caption=CaptionDecoderConfig(
        prefix_length=9,
        prefix_dim=16,
        hidden_dim=6,
        gpt2=Gpt2Config(vocabulary=VOCABULARY, context=40, width=16, depth=2, num_heads=2),
    ),
)


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Every parameter random, norms around one: default initialisation hides swapped norms."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = 0.2 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise + 1 if parameter.ndim == 1 and name.endswith("weight") else noise)


@pytest.fixture(scope="module")
def pipeline() -> UniDiffuser:
    model = UniDiffuser(SMALL)
    randomise(model)
    words = ("a red apple", "two green pears left of a sleeping cat", "the cat with tears of joy")
    tokenizer = BpeTokenizer.trained(words * 3, VOCABULARY)
    model.attach({"text_tokenizer": tokenizer.to_json()})
    return model.eval()


@pytest.fixture(scope="module")
def folder(pipeline: UniDiffuser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("peer") / "unidiffuser"
    checkpoint = Checkpoint(config=SMALL, tensors=dict(pipeline.state_dict()), assets=pipeline.assets())
    write_diffusers(checkpoint, path)
    return path


def near(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@torch.no_grad()
def test_the_joint_predictor_equals_diffusers(pipeline: UniDiffuser, folder: Path) -> None:
    from diffusers import UniDiffuserModel

    peer = UniDiffuserModel.from_pretrained(folder / "unet").eval()
    generator = torch.Generator().manual_seed(1)
    noisy = Signals(
        torch.randn(3, 4, 8, 8, generator=generator),
        torch.randn(3, 12, generator=generator),
        torch.randn(3, 9, 6, generator=generator),
    )
    times, texts = torch.tensor([3.0, 500.0, 999.0]), torch.tensor([0.0, 1000.0, 20.0])
    kind = torch.tensor([0, 1, 1])
    ours = pipeline.joint(noisy, times, texts, kind)
    theirs = peer(noisy.latent, noisy.picture.unsqueeze(1), noisy.text, times, texts, kind)
    assert near(ours.latent, theirs[0]) < 1e-5
    assert near(ours.picture, theirs[1].squeeze(1)) < 1e-5
    assert near(ours.text, theirs[2]) < 1e-5


@torch.no_grad()
def test_the_autoencoder_equals_diffusers(pipeline: UniDiffuser, folder: Path) -> None:
    from diffusers import AutoencoderKL

    peer = AutoencoderKL.from_pretrained(folder / "vae").eval()
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    ours, theirs = pipeline.autoencoder.encode(pictures), peer.encode(pictures).latent_dist
    assert near(ours.mean, theirs.mean) < 1e-5
    assert near(ours.log_variance, theirs.logvar) < 1e-5
    assert near(ours.kl(), theirs.kl()) < 1e-5
    assert near(pipeline.autoencoder.decode(ours.mean), peer.decode(theirs.mean).sample) < 1e-5


@torch.no_grad()
def test_the_text_tower_equals_transformers(pipeline: UniDiffuser, folder: Path) -> None:
    from transformers import CLIPTextModel

    peer = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    tokens = pipeline.tokenize(["a red apple", "the cat"])
    theirs = peer(tokens)
    ours = pipeline.text(tokens)
    assert near(ours, theirs.last_hidden_state) < 1e-5
    assert near(pipeline.text.pool(ours, tokens), theirs.pooler_output) < 1e-5


@torch.no_grad()
def test_the_picture_tower_equals_transformers(pipeline: UniDiffuser, folder: Path) -> None:
    from transformers import CLIPVisionModelWithProjection

    peer = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder").eval()
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    assert near(pipeline.picture_embedding(pictures), peer(clip_normalise(pictures)).image_embeds) < 1e-5


@torch.no_grad()
def test_the_caption_decoder_equals_diffusers(pipeline: UniDiffuser, folder: Path) -> None:
    from diffusers import UniDiffuserTextDecoder

    peer = UniDiffuserTextDecoder.from_pretrained(folder / "text_decoder").eval()
    generator = torch.Generator().manual_seed(4)
    states, tokens = (
        torch.randn(2, 9, 16, generator=generator),
        torch.randint(2, VOCABULARY, (2, 5), generator=generator),
    )
    code = pipeline.caption.encode_prefix(states)
    logits = peer(tokens, states)[0].logits[:, 8:-1]
    assert near(pipeline.caption(code, tokens), logits) < 1e-5
    ours = pipeline.caption.generate(code, end_token=1, beams=4, longest=20)
    for row in range(2):  # beam search, one code at a time as the peer does it
        embeds = peer.decode_prefix(code[row : row + 1])
        found, lengths = peer.generate_beam(
            input_embeds=embeds, device="cpu", beam_size=4, entry_length=20, eos_token_id=1
        )
        theirs = found[0][: int(lengths[0])].tolist()
        assert ours[row] == [token for token in theirs if token != 1]


def test_the_folder_reads_back_bit_for_bit(pipeline: UniDiffuser, folder: Path) -> None:
    back = read_diffusers(folder, None)
    assert back.config == SMALL
    assert back.assets == pipeline.assets()
    model = UniDiffuser(back.config)
    load_into(model, back.tensors, source="folder")
    for name, tensor in pipeline.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_a_swapped_norm_is_seen(pipeline: UniDiffuser, folder: Path) -> None:
    """The mutation that parity on default weights would miss."""
    back = read_diffusers(folder, None)
    first, second = "joint.trunk.mid_block.norm1.weight", "joint.trunk.mid_block.norm2.weight"
    back.tensors[first], back.tensors[second] = back.tensors[second], back.tensors[first]
    model = UniDiffuser(back.config).eval()
    load_into(model, back.tensors, source="mutant")
    noisy = Signals(torch.ones(1, 4, 8, 8), torch.ones(1, 12), torch.ones(1, 9, 6))
    time = torch.tensor([10.0])
    with torch.no_grad():
        assert near(model.joint(noisy, time, time).latent, pipeline.joint(noisy, time, time).latent) > 1e-3


def test_another_size_than_asked_for_is_refused(folder: Path) -> None:
    with pytest.raises(BottegaError, match="another size"):
        read_diffusers(folder, replace(SMALL, joint=replace(SMALL.joint, data_type=False)))


def test_a_variant_that_was_never_published_is_refused(folder: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "unet" / "config.json").read_text())
    config["pre_layer_norm"] = True
    (copy / "unet" / "config.json").write_text(json.dumps(config))
    with pytest.raises(BottegaError, match="pre_layer_norm"):
        read_diffusers(copy, None)
