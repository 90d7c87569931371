"""U-ViT in the files that its authors publish: bare state dicts, one for each part."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from bottega.errors import FileError, RequestError
from bottega.networks import CLIP_TEXT_KEYS, AutoencoderKlConfig, clip_text_json
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.diffusion.uvit.config import ClassCondition, TextCondition, UVitConfig
from bottega.tokenizers import read_tokenizer_folder, write_tokenizer_folder
from bottega.weights import (
    ConvAsLinear,
    Drop,
    Fuse,
    KeyTable,
    Rename,
    Reshape,
    Rule,
    add_prefix,
    first_file,
    read_folder_tensors,
    read_tensors,
    take_prefix,
    to_ours,
    to_theirs,
    write_folder,
    write_tensors,
)


def _block(ours: str, theirs: str) -> KeyTable:
    return (
        Rename(f"{ours}.attention.{{rest}}", f"{theirs}.attn.{{rest}}"),
        *(Rename(f"{ours}.{part}.{{rest}}", f"{theirs}.{part}.{{rest}}") for part in ("norm1", "norm2", "mlp")),
    )


def _condition(config: UVitConfig) -> KeyTable:
    match config.condition:
        case ClassCondition():
            return (Rename("class_embed.weight", "label_emb.weight"),)
        case TextCondition():
            return (Rename("text_embed.{rest}", "context_embed.{rest}"),)
    return ()


def network_table(config: UVitConfig) -> KeyTable:
    """The noise predictor against `libs/uvit.py` and `libs/uvit_t2i.py`."""
    width, tokens = config.trunk.width, config.extra_tokens + config.rows**2
    skips = Rename("trunk.skips.{i}.linear.{rest}", "out_blocks.{i}.skip_linear.{rest}")
    return (
        Rename("pos_embed", "pos_embed", change=Reshape((tokens, width), (1, tokens, width))),
        Rename("patch_embed.proj.{rest}", "patch_embed.proj.{rest}"),
        *((Rename("time_embed.{rest}", "time_embed.{rest}"),) if config.time_mlp else ()),
        *_condition(config),
        *_block("trunk.in_blocks.{i}", "in_blocks.{i}"),
        *_block("trunk.mid_block", "mid_block"),
        *_block("trunk.out_blocks.{i}", "out_blocks.{i}"),
        *((skips,) if config.trunk.long_skips else ()),
        Rename("trunk.norm.{rest}", "norm.{rest}"),
        Rename("head.{rest}", "decoder_pred.{rest}"),
        *((Rename("final_conv.{rest}", "final_layer.{rest}"),) if config.final_conv else ()),
    )


def _resnet(ours: str, theirs: str, *, shortcut: bool) -> list[Rule]:
    parts = ("norm1", "conv1", "norm2", "conv2")
    rules: list[Rule] = [Rename(f"{ours}.{part}.{{rest}}", f"{theirs}.{part}.{{rest}}") for part in parts]
    return [*rules, Rename(f"{ours}.shortcut.{{rest}}", f"{theirs}.nin_shortcut.{{rest}}")] if shortcut else rules


def _stages(config: AutoencoderKlConfig, side: str) -> list[Rule]:
    """The stages of a side. Theirs are numbered from fine to coarse on both sides; ours in order of use."""
    decodes = side == "decoder"
    sizes = config.channels[::-1] if decodes else config.channels
    last, stage, change = len(sizes) - 1, *(("up", "upsample") if decodes else ("down", "downsample"))
    rules: list[Rule] = []
    for i, size in enumerate(sizes):
        ours, theirs = f"{side}.stages.{i}", f"{side}.{stage}.{last - i if decodes else i}"
        for j in range(config.blocks_per_stage + decodes):
            grows = j == 0 and size != sizes[max(i - 1, 0)]
            rules += _resnet(f"{ours}.blocks.{j}", f"{theirs}.block.{j}", shortcut=grows)
        if i < last:
            rules.append(Rename(f"{ours}.{stage}.conv.{{rest}}", f"{theirs}.{change}.conv.{{rest}}"))
    return rules


def _side(config: AutoencoderKlConfig, side: str) -> KeyTable:
    ours, theirs = f"{side}.middle.attention", f"{side}.mid.attn_1"
    attention: tuple[Rule, ...] = (
        Rename(f"{ours}.norm.{{rest}}", f"{theirs}.norm.{{rest}}"),
        Fuse(f"{ours}.qkv.weight", tuple(f"{theirs}.{part}.weight" for part in "qkv"), change=ConvAsLinear()),
        Fuse(f"{ours}.qkv.bias", tuple(f"{theirs}.{part}.bias" for part in "qkv")),
        Rename(f"{ours}.proj.weight", f"{theirs}.proj_out.weight", change=ConvAsLinear()),
        Rename(f"{ours}.proj.bias", f"{theirs}.proj_out.bias"),
    )
    return (
        *_stages(config, side),
        *_resnet(f"{side}.middle.block1", f"{side}.mid.block_1", shortcut=False),
        *(attention if config.middle_attention else ()),
        *_resnet(f"{side}.middle.block2", f"{side}.mid.block_2", shortcut=False),
        *(Rename(f"{side}.{part}.{{rest}}", f"{side}.{part}.{{rest}}") for part in ("conv_in", "norm_out", "conv_out")),
    )


def autoencoder_table(config: AutoencoderKlConfig) -> KeyTable:
    """The autoencoder against `libs/autoencoder.py`, which has latent diffusion's own names."""
    return (
        *_side(config, "encoder"),
        *_side(config, "decoder"),
        Rename("to_moments.{rest}", "quant_conv.{rest}"),
        Rename("from_latent.{rest}", "post_quant_conv.{rest}"),
    )


_NOT_TEXT = "of CLIP's picture tower or of the comparison with it, which U-ViT does not use"

TEXT_TABLE: KeyTable = (
    *CLIP_TEXT_KEYS,
    *(
        Drop(f"{part}.{{rest}}", _NOT_TEXT, optional=True)
        for part in ("vision_model", "visual_projection", "text_projection")
    ),
    Drop("logit_scale", _NOT_TEXT, optional=True),
)
"""transformers' CLIPTextModel, or the text tower of its CLIPModel."""

NETWORK_FILES = ("nnet_ema.pth", "nnet_ema.safetensors", "nnet.pth", "nnet.safetensors")
AUTOENCODER_FILES = ("autoencoder_kl_ema.pth", "autoencoder_kl.pth", "autoencoder_kl.safetensors")


def read_authors(path: Path, config: UVitConfig | None) -> Checkpoint:
    """Reads a published file, or a folder with the files of all parts.

    Raises:
        RequestError: No size was named; the files do not say it.
        FileError: A file is missing or damaged.
        WeightsError: The keys or shapes do not fit the size.
    """
    if config is None:
        raise RequestError("the authors' files do not say which size they hold; name one with --preset")
    if config.autoencoder is None:
        network = read_tensors(first_file(path, NETWORK_FILES) if path.is_dir() else path)
        return Checkpoint(config=config, tensors=add_prefix(to_ours(network_table(config), network), "network"))
    if not path.is_dir():
        raise FileError(f"{path} must be a folder for this size: put {_parts(config)} into one")
    network = read_tensors(first_file(path, NETWORK_FILES))
    tensors = add_prefix(to_ours(network_table(config), network), "network")
    latents = to_ours(autoencoder_table(config.autoencoder), read_tensors(first_file(path, AUTOENCODER_FILES)))
    tensors |= add_prefix(latents, "autoencoder")
    if config.text is None:
        return Checkpoint(config=config, tensors=tensors)
    tensors |= add_prefix(to_ours(TEXT_TABLE, read_folder_tensors(path / "clip")), "text")
    return Checkpoint(
        config=config, tensors=tensors, assets={"tokenizer": read_tokenizer_folder(path / "clip").to_json()}
    )


def write_authors(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the same files under the same keys, as safetensors: a file, or a folder for sizes with an autoencoder."""
    config: UVitConfig = checkpoint.config
    network = to_theirs(network_table(config), take_prefix(checkpoint.tensors, "network"))
    if config.autoencoder is None:
        write_tensors(path, network)
        return
    path.mkdir(parents=True, exist_ok=True)
    write_tensors(path / "nnet_ema.safetensors", network)
    latents: dict[str, Tensor] = take_prefix(checkpoint.tensors, "autoencoder")
    write_tensors(path / "autoencoder_kl.safetensors", to_theirs(autoencoder_table(config.autoencoder), latents))
    if config.text is not None:
        theirs = to_theirs(TEXT_TABLE, take_prefix(checkpoint.tensors, "text"))
        write_folder(path / "clip", clip_text_json(config.text), theirs, name="model.safetensors")
        if "tokenizer" in checkpoint.assets:
            write_tokenizer_folder(path / "clip", checkpoint.assets["tokenizer"], "CLIPTokenizer", config.text.context)


def _parts(config: UVitConfig) -> str:
    clip = " and clip/ (the folder of openai/clip-vit-large-patch14)" if config.text is not None else ""
    return f"the published file as nnet_ema.pth, autoencoder_kl.pth{clip}"


FORMATS = {
    "authors": CheckpointFormat(
        description="The files of baofff/U-ViT: one .pth of the noise predictor; for the latent sizes a folder with it "
        "as nnet_ema.pth, with autoencoder_kl.pth and, for texts, clip/. Name the preset.",
        read=read_authors,
        write=write_authors,
    ),
}
