"""EVA and EVA-CLIP against the modules of baaivision/EVA and of open_clip (timm), every parameter randomised.

`eva_goldens.json` was made by `record_eva_goldens.py` beside this file (torch 2.13, CPU).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bottega.errors import FileError, RequestError, WeightsError
from bottega.layers import Activation
from bottega.networks import ClipTextConfig, EvaBlocks, EvaConfig
from bottega.room import Checkpoint
from bottega.systems.vision.eva.checkpoints import FORMATS, table
from bottega.systems.vision.eva.config import PRESETS, ClipConfig, DecoderConfig, EvaRoomConfig, MaskedConfig
from bottega.systems.vision.eva.model import EvaRoom
from bottega.tokenizers import BpeTokenizer
from bottega.weights import load_into, to_ours, to_theirs

GOLDENS = json.loads(Path(__file__).with_name("eva_goldens.json").read_text())

TOWER = EvaConfig(size=16, patch_size=4, width=32, depth=2, num_heads=2, hidden=96)
TEXT = ClipTextConfig(
    vocabulary=40, context=8, width=24, depth=2, num_heads=2, activation=Activation.GELU, end_token=39
)
CLIP = ClipConfig(text=TEXT, embedding=20)
CONFIGS = {
    "clip-g": EvaRoomConfig(tower=TOWER, clip=CLIP),
    "clip-l": EvaRoomConfig(tower=replace(TOWER, hidden=85, blocks=EvaBlocks.ROTARY), clip=CLIP),
    "clip-e": EvaRoomConfig(tower=replace(TOWER, blocks=EvaBlocks.POST), clip=CLIP),
    "eva-g": EvaRoomConfig(tower=TOWER, masked=MaskedConfig(features=20)),
    "eva-l": EvaRoomConfig(
        tower=replace(TOWER, key_bias=True), masked=DecoderConfig(features=20, width=24, depth=2, num_heads=2)
    ),
}
CLIPS = [name for name in GOLDENS if "clip-" in name]


def filled(shapes):
    """The script's values under the authors' names; the angles of rotary positions are left out, as files may."""
    generator = torch.Generator().manual_seed(0)
    made = {}
    for name, shape in sorted(shapes.items()):
        if "freqs_" not in name:
            ones = float(("norm" in name or "ln" in name) and name.endswith("weight"))
            made[name] = 0.3 * torch.randn(shape, generator=generator) + ones
    return made


def inputs():
    """As the script's."""
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randn(2, 3, 16, 16, generator=generator)
    tokens = torch.tensor([[38, 5, 17, 3, 39, 0, 0, 0], [38, 30, 2, 39, 0, 0, 0, 0]])
    return pictures, tokens, torch.rand(2, 16, generator=generator).argsort(1) < 6


def loaded(case, change=None):
    """Our model with the script's values, and those values."""
    publisher, name = case.split()
    theirs = filled(GOLDENS[case]["shapes"])
    if change is not None:
        change(theirs)
    room = EvaRoom(CONFIGS[name]).eval()
    load_into(room, to_ours(table(CONFIGS[name], timm=publisher == "open_clip"), theirs), source=case)
    return room, theirs


def answers(room):
    pictures, tokens, _ = inputs()
    seen = room.clip.projection(room.tower(pictures)[:, 0])
    return seen, room.clip.read(tokens)


@torch.no_grad()
@pytest.mark.parametrize("case", CLIPS)
def test_both_towers_of_eva_clip_are_the_peers(case):
    seen, read = answers(loaded(case)[0])
    golden = GOLDENS[case]
    for ours, theirs in ((seen, golden["pictures"]), (read, golden["texts"])):
        assert torch.tensor(theirs).view_as(ours).abs().max() > 1
        torch.testing.assert_close(ours, torch.tensor(theirs).view_as(ours), atol=2e-5, rtol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("case", ["authors eva-g", "authors eva-l"])
def test_masked_pretraining_is_the_authors(case):
    room, _ = loaded(case)
    pictures, _, mask = inputs()
    told = room.student(room.tower, pictures, mask)
    told = told[mask] if case.endswith("g") else told  # EVA-g's module returns the hidden patches alone
    golden = torch.tensor(GOLDENS[case]["told"]).view_as(told)
    torch.testing.assert_close(told, golden, atol=2e-5, rtol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("key", ["q_bias", "v_bias", "norm1.weight", "norm2.bias", "head.bias", "ln_1.weight"])
def test_a_wrong_tensor_is_noticed(key):
    """The planted mutation: any one of these tensors zeroed changes the answers."""

    def spoil(theirs):
        name = next(name for name in theirs if name.endswith(key))
        theirs[name] = torch.zeros_like(theirs[name])

    right, wrong = (answers(loaded("authors clip-g", change)[0]) for change in (None, spoil))
    assert max(float((a - b).abs().max()) for a, b in zip(right, wrong, strict=True)) > 1e-3


@pytest.mark.parametrize("case", GOLDENS)
def test_files_come_back_unchanged(case, tmp_path):
    publisher, name = case.split()
    room, theirs = loaded(case)
    checkpoint = Checkpoint(config=room.config, tensors=room.state_dict(), assets={})
    layout = FORMATS[publisher]
    layout.write(checkpoint, tmp_path / "model.safetensors")
    back = layout.read(tmp_path / "model.safetensors", CONFIGS[name])
    assert all(torch.equal(back.tensors[key], value) for key, value in checkpoint.tensors.items())
    again = to_theirs(table(room.config, timm=publisher == "open_clip"), back.tensors)
    assert again.keys() == theirs.keys()
    assert all(torch.equal(again[key], value) for key, value in theirs.items())


@pytest.mark.parametrize("entry", ["model", "module", "state_dict", None])
def test_pickled_files_are_read_wherever_their_tensors_are(entry, tmp_path):
    room, theirs = loaded("authors clip-l")
    theirs = {f"module.{key}": value for key, value in theirs.items()} if entry == "state_dict" else theirs
    theirs["visual.rope.freqs_cos"] = torch.zeros(16, 16)  # some files hold the angles
    torch.save(theirs if entry is None else {entry: theirs, "epoch": 3}, tmp_path / "eva.pt")
    if entry == "state_dict":
        theirs["module.visual.rope.freqs_cos"] = theirs.pop("visual.rope.freqs_cos")
        torch.save({entry: theirs}, tmp_path / "eva.pt")
    read = FORMATS["authors"].read(tmp_path / "eva.pt", CONFIGS["clip-l"])
    assert all(torch.equal(read.tensors[key], value) for key, value in room.state_dict().items())


def test_a_folder_brings_its_tokenizer(tmp_path):
    room, _ = loaded("open_clip clip-g")
    tokenizer = BpeTokenizer.trained(["a red apple", "two red cats"], 40)
    checkpoint = Checkpoint(config=room.config, tensors=room.state_dict(), assets={"tokenizer": tokenizer.to_json()})
    FORMATS["open_clip"].write(checkpoint, tmp_path / "whole")
    back = FORMATS["open_clip"].read(tmp_path / "whole", room.config)
    assert BpeTokenizer.from_json(back.assets["tokenizer"]).ids("two red apple") == tokenizer.ids("two red apple")


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(RequestError, match="--preset"):
        FORMATS["authors"].read(tmp_path, None)
    with pytest.raises(RequestError, match="no place"):
        FORMATS["authors"].read(tmp_path, PRESETS["tiny"].config)
    with pytest.raises(FileError, match=r"model\.safetensors"):
        FORMATS["authors"].read(tmp_path, CONFIGS["clip-g"])
    room, _ = loaded("authors clip-g")
    FORMATS["authors"].write(
        Checkpoint(config=room.config, tensors=room.state_dict(), assets={}), tmp_path / "g.safetensors"
    )
    with pytest.raises(WeightsError):
        FORMATS["authors"].read(tmp_path / "g.safetensors", CONFIGS["clip-l"])
    with pytest.raises(FileError, match="folder"):
        FORMATS["authors"].write(
            Checkpoint(config=room.config, tensors=room.state_dict(), assets={}), tmp_path / "a.pt"
        )


def test_published_sizes_are_timms_and_the_authors():
    """timm: eva_giant_patch14_224 with 1000 classes 1,012,555,112, eva_large_patch14_196 304,142,312,
    eva02_large_patch14_clip_224 without a head 303,317,952, eva02_enormous_patch14_clip_224 with 1024 outputs
    4,350,556,928."""
    counts = {}
    for name in ("eva-g", "eva-l", "clip-l", "clip-e"):
        with torch.device("meta"):
            counts[name] = sum(p.numel() for p in EvaRoom(PRESETS[name].config).tower.parameters())
    assert counts["eva-g"] + 1408 * 1000 + 1000 == 1_012_555_112
    assert counts["eva-l"] + 1024 * 1000 + 1000 - 1024 * (257 - 197) == 304_142_312
    assert counts["clip-l"] == 303_317_952
    assert counts["clip-e"] + 1792 * 1024 + 1024 == 4_350_556_928
