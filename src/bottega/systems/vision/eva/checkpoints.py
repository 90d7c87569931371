"""EVA and EVA-CLIP in the files that their authors publish, and in those of open_clip."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from bottega.errors import FileError, RequestError
from bottega.networks import EvaBlocks, EvaConfig
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.vision.eva.config import DecoderConfig, EvaRoomConfig, MaskedConfig
from bottega.tokenizers import read_tokenizer_folder, write_tokenizer_folder
from bottega.weights import (
    Drop,
    Fuse,
    KeyTable,
    Rename,
    Reshape,
    Split,
    Transpose,
    first_file,
    nested,
    read_tensors,
    to_ours,
    to_theirs,
    write_tensors,
)

ENTRIES = ("model", "module", "state_dict")
"""Where the authors' files hold their tensors, in the order in which their own code looks."""

FILES = ("model.safetensors", "open_clip_model.safetensors", "model.pt", "model.pth", "open_clip_pytorch_model.bin")


def _vector(ours: str, theirs: str, width: int) -> Rename:
    return Rename(ours, theirs, change=Reshape((width,), (1, 1, width)))


def tower_table(config: EvaConfig, *, timm: bool = False) -> KeyTable:
    """The tower against the authors' `eva_vit_model.py`, or against timm's `eva.py`."""
    ours, theirs, width, tokens = "blocks.{i}.attention", "blocks.{i}.attn", config.width, 1 + config.patches
    return (
        Rename("patch_embed.proj.{rest}", "patch_embed.proj.{rest}"),
        _vector("class_token", "cls_token", width),
        Rename("pos_embed", "pos_embed", change=Reshape((tokens, width), (1, tokens, width))),
        *(Rename(f"blocks.{{i}}.{part}.{{rest}}", f"blocks.{{i}}.{part}.{{rest}}") for part in ("norm1", "norm2")),
        Rename(f"{ours}.proj.{{rest}}", f"{theirs}.proj.{{rest}}"),
        *(_rotary_blocks(timm=timm) if config.blocks is EvaBlocks.ROTARY else _plain_blocks(key_bias=config.key_bias)),
        Rename("norm_out.{rest}", "norm.{rest}"),
    )


def _plain_blocks(*, key_bias: bool) -> KeyTable:
    ours, theirs = "blocks.{i}.attention", "blocks.{i}.attn"
    apart = tuple(Rename(f"{ours}.{part}_bias", f"{theirs}.{part}_bias") for part in "qv")
    joined = (Split(tuple(f"{ours}.{part}_bias" for part in "qkv"), f"{theirs}.qkv.bias"),)
    return (
        Rename(f"{ours}.qkv.weight", f"{theirs}.qkv.weight"),
        *(joined if key_bias else apart),
        *(Rename(f"blocks.{{i}}.mlp.{fc}.{{rest}}", f"blocks.{{i}}.mlp.{fc}.{{rest}}") for fc in ("fc1", "fc2")),
    )


def _rotary_blocks(*, timm: bool) -> KeyTable:
    ours, theirs, mlp = "blocks.{i}.attention", "blocks.{i}.attn", "blocks.{i}.mlp"
    gate, up, norm, out = ("fc1_g", "fc1_x", "norm", "fc2") if timm else ("w1", "w2", "ffn_ln", "w3")
    bias = "{part}_proj.bias" if timm else "{part}_bias"
    why = "angles that our tower computes"
    return (
        Fuse(f"{ours}.qkv.weight", tuple(f"{theirs}.{part}_proj.weight" for part in "qkv")),
        *(Rename(f"{ours}.{part}_bias", f"{theirs}.{bias.format(part=part)}") for part in "qv"),
        Rename(f"{ours}.norm.{{rest}}", f"{theirs}.{'norm' if timm else 'inner_attn_ln'}.{{rest}}"),
        *(Fuse(f"{mlp}.gate_up.{kind}", (f"{mlp}.{gate}.{kind}", f"{mlp}.{up}.{kind}")) for kind in ("weight", "bias")),
        Rename(f"{mlp}.norm.{{rest}}", f"{mlp}.{norm}.{{rest}}"),
        Rename(f"{mlp}.fc2.{{rest}}", f"{mlp}.{out}.{{rest}}"),
        Drop("rope.{rest}", why, optional=True),
        Drop(f"{theirs}.rope.{{rest}}", why, optional=True),
    )


TEXT_TABLE: KeyTable = (
    Rename("text.token_embed.weight", "token_embedding.weight"),
    Rename("text.pos_embed", "positional_embedding"),
    *nested(
        "text.blocks.{i}",
        "transformer.resblocks.{i}",
        (
            Rename("norm1.{rest}", "ln_1.{rest}"),
            Rename("norm2.{rest}", "ln_2.{rest}"),
            *(Rename(f"attention.qkv.{kind}", f"attn.in_proj_{kind}") for kind in ("weight", "bias")),
            Rename("attention.proj.{rest}", "attn.out_proj.{rest}"),
            Rename("mlp.fc1.{rest}", "mlp.c_fc.{rest}"),
            Rename("mlp.fc2.{rest}", "mlp.c_proj.{rest}"),
        ),
    ),
    Rename("text.norm.{rest}", "ln_final.{rest}"),
    Rename("text_projection.weight", "text_projection", change=Transpose()),
)
"""The text tower of EVA-CLIP and of open_clip; ours are the keys of `EvaClip`."""


def clip_table(config: EvaRoomConfig, *, timm: bool) -> KeyTable:
    """EVA-CLIP against the authors' files, or against open_clip's."""
    place = "visual.trunk" if timm else "visual"
    return (
        *nested("tower", place, tower_table(config.tower, timm=timm)),
        Rename("clip.projection.{rest}", f"{place}.head.{{rest}}"),
        *nested("clip", "text", TEXT_TABLE),
        Rename("clip.log_scale", "logit_scale"),
    )


def masked_table(config: EvaRoomConfig) -> KeyTable:
    """EVA-g against `modeling_pretrain.py`, EVA-L against `modeling_mae_pretrain.py`."""
    tower = nested("tower", "", tower_table(config.tower))
    if isinstance(config.masked, MaskedConfig):
        width = config.tower.width
        head = Rename("student.head.{rest}", "lm_head.{rest}")
        return (*tower, _vector("student.mask_token", "mask_token", width), head)
    if not isinstance(config.masked, DecoderConfig):
        raise RequestError("this size has no masked pre-training")
    width, tokens = config.masked.width, 1 + config.tower.patches
    block, theirs = "student.blocks.{i}", "decoder_blocks.{i}"
    return (
        *tower,
        _vector("student.mask_token", "mask_token", width),
        Rename("student.pos_embed", "decoder_pos_embed", change=Reshape((tokens, width), (1, tokens, width))),
        Rename("student.embed.{rest}", "decoder_embed.{rest}"),
        *(Rename(f"{block}.{part}.{{rest}}", f"{theirs}.{part}.{{rest}}") for part in ("norm1", "norm2", "mlp")),
        Rename(f"{block}.attention.{{rest}}", f"{theirs}.attn.{{rest}}"),
        Rename("student.norm_out.{rest}", "decoder_norm.{rest}"),
        Rename("student.head.{rest}", "decoder_pred.{rest}"),
    )


def table(config: EvaRoomConfig, *, timm: bool) -> KeyTable:
    """The table of a size.

    Raises:
        RequestError: The size is not a published one: its weights hold a teacher, or both kinds of training.
    """
    if config.teacher is not None or (config.masked is not None and config.clip is not None):
        raise RequestError("this size has no place in published files; they hold a tower with one kind of training")
    return masked_table(config) if config.clip is None else clip_table(config, timm=timm)


def read(path: Path, config: EvaRoomConfig | None, *, timm: bool) -> Checkpoint:
    """Reads a published file, or a folder with it and with the tokenizer's `vocab.json` and `merges.txt`.

    Raises:
        RequestError: No size was named; the files do not say it.
        FileError: A file is missing or damaged.
        WeightsError: The keys or shapes do not fit the size.
    """
    if config is None:
        raise RequestError("the files do not say which size they hold; name one with --preset")
    keys = table(config, timm=timm)
    file = first_file(path, FILES) if path.is_dir() else path
    theirs = {key.removeprefix("module."): tensor for key, tensor in read_tensors(file, perhaps=ENTRIES).items()}
    if "text.logit_scale" in theirs:  # the first EVA-CLIP kept it there
        theirs["logit_scale"] = theirs.pop("text.logit_scale")
    return Checkpoint(config=config, tensors=to_ours(keys, theirs), assets=_tokenizer(file.parent))


def _tokenizer(folder: Path) -> dict[str, str]:
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        return {}
    return {"tokenizer": read_tokenizer_folder(folder).to_json()}


def write(checkpoint: Checkpoint, path: Path, *, timm: bool) -> None:
    """Writes the same keys as safetensors: a file where `path` ends so, else a folder with the tokenizer in it."""
    config: EvaRoomConfig = checkpoint.config
    theirs = to_theirs(table(config, timm=timm), checkpoint.tensors)
    if path.suffix == ".safetensors":
        write_tensors(path, theirs)
        return
    if path.suffix:
        raise FileError(f"{path} must be a folder, or end in .safetensors")
    path.mkdir(parents=True, exist_ok=True)
    write_tensors(path / (FILES[1] if timm else FILES[0]), theirs)
    if "tokenizer" in checkpoint.assets and config.clip is not None:
        write_tokenizer_folder(path, checkpoint.assets["tokenizer"], "CLIPTokenizer", config.clip.text.context)


CLIPS = ("clip-g", "clip-g-plus", "clip-l", "clip-l-336", "clip-e", "clip-e-plus")

FORMATS = {
    "authors": CheckpointFormat(
        description="The .pt or .pth files of baaivision/EVA (EVA-01 pre-training, EVA-CLIP); for texts in a folder "
        "with CLIP's vocab.json and merges.txt. Name the preset.",
        read=partial(read, timm=False),
        write=partial(write, timm=False),
        presets=("eva-g", "eva-l", *CLIPS),
    ),
    "open_clip": CheckpointFormat(
        description="The state dict of mlfoundations/open_clip (EVA01-g-14 ... EVA02-E-14-plus), alone or in a folder "
        "with the tokenizer. Name the preset.",
        read=partial(read, timm=True),
        write=partial(write, timm=True),
        presets=CLIPS,
    ),
}
