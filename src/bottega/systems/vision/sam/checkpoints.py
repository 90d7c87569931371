"""Segment Anything in the layouts of Meta (one state dict) and of transformers (a folder)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from bottega.errors import RequestError, WeightsError
from bottega.networks import VitDetConfig
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.vision.sam.config import MaskDecoderConfig, SamConfig
from bottega.weights import (
    Drop,
    Fuse,
    KeyTable,
    Rename,
    Reshape,
    read_folder_config,
    read_folder_tensors,
    read_tensors,
    to_ours,
    to_theirs,
    write_folder,
    write_tensors,
)


def _renamed(ours: str, theirs: str, names: Mapping[str, str]) -> KeyTable:
    return tuple(Rename(f"{ours}.{a}.{{rest}}", f"{theirs}.{b}.{{rest}}") for a, b in names.items())


def _cross(ours: str, theirs: str) -> KeyTable:
    return _renamed(ours, theirs, {"q": "q_proj", "k": "k_proj", "v": "v_proj", "proj": "out_proj"})


def _encoder(config: SamConfig, theirs: str, names: Mapping[str, str]) -> KeyTable:
    """The encoder; `names` are theirs for the parts whose names differ between the layouts."""
    side, width = config.encoder.side, config.encoder.width
    block = f"{theirs}.{names['blocks']}.{{i}}"
    square = (side, side, width)
    neck = dict(zip("0123", names["neck"].split(), strict=True))
    return (
        Rename("image_encoder.pos_embed", f"{theirs}.pos_embed", change=Reshape(square, (1, *square))),
        Rename("image_encoder.patch_embed.{rest}", f"{theirs}.patch_embed.{names['patch']}.{{rest}}"),
        *_renamed("image_encoder.blocks.{i}", block, {"norm1": names["norm1"], "norm2": names["norm2"]}),
        *_renamed("image_encoder.blocks.{i}.attention", f"{block}.attn", {"qkv": "qkv", "proj": "proj"}),
        Rename("image_encoder.blocks.{i}.attention.row_positions", f"{block}.attn.rel_pos_h"),
        Rename("image_encoder.blocks.{i}.attention.column_positions", f"{block}.attn.rel_pos_w"),
        *_renamed("image_encoder.blocks.{i}.mlp", f"{block}.mlp", {"fc1": "lin1", "fc2": "lin2"}),
        *_renamed("image_encoder.neck", f"{theirs}.neck", neck),
    )


def _prompts(config: SamConfig, points: str, masks: str, names: str) -> KeyTable:
    """Prompt tokens and the layers of mask prompts, which are numbered 0, 1, 3, 4, 6 in ours; the rest are theirs."""
    width = config.width
    one = Reshape((width,), (1, width))
    theirs = "prompt_encoder"
    kinds = tuple(f"{theirs}.{points}.{i}.weight" for i in range(4))
    layers: dict[str, str] = dict(zip("01346", names.split(), strict=True))
    return (
        Fuse("prompt_encoder.kinds", kinds),
        Rename("prompt_encoder.no_point", f"{theirs}.not_a_point_embed.weight", change=one),
        Rename("prompt_encoder.no_mask", f"{theirs}.no_mask_embed.weight", change=one),
        *_renamed("prompt_encoder.mask_layers", f"{theirs}.{masks}", layers),
    )


def _blocks(norms: tuple[str, ...], last: str) -> KeyTable:
    """The two-way transformer; `norms` are their names of a block's norms, `last` that of the final one."""
    ours, theirs = "mask_decoder.blocks.{i}", "mask_decoder.transformer.layers.{i}"
    return (
        *_cross(f"{ours}.among_tokens", f"{theirs}.self_attn"),
        *_cross(f"{ours}.over_picture", f"{theirs}.cross_attn_token_to_image"),
        *_cross(f"{ours}.over_tokens", f"{theirs}.cross_attn_image_to_token"),
        *_renamed(ours, f"{theirs}.mlp", {"fc1": "lin1", "fc2": "lin2"}),
        *_renamed(ours, theirs, dict(zip(("norm1", "norm2", "norm3", "norm4"), norms, strict=True))),
        *_cross("mask_decoder.over_picture", "mask_decoder.transformer.final_attn_token_to_image"),
        Rename("mask_decoder.norm_out.{rest}", f"mask_decoder.transformer.{last}.{{rest}}"),
        Rename("mask_decoder.mask_tokens", "mask_decoder.mask_tokens.weight"),
    )


def _score_token(config: SamConfig) -> Rename:
    change = Reshape((config.width,), (1, config.width))
    return Rename("mask_decoder.score_token", "mask_decoder.iou_token.weight", change=change)


def meta_table(config: SamConfig) -> KeyTable:
    """The model against `segment_anything`'s state dict."""
    names = {"blocks": "blocks", "patch": "proj", "norm1": "norm1", "norm2": "norm2", "neck": "0 1 2 3"}
    heads = "mask_decoder.output_hypernetworks_mlps.{i}.layers.{j}.{rest}"
    return (
        *_encoder(config, "image_encoder", names),
        Rename("prompt_encoder.frequencies", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
        *_prompts(config, "point_embeddings", "mask_downscaling", "0 1 3 4 6"),
        *_blocks(("norm1", "norm2", "norm3", "norm4"), "norm_final_attn"),
        _score_token(config),
        *_renamed("mask_decoder.upscale", "mask_decoder.output_upscaling", {"0": "0", "1": "1", "3": "3"}),
        Rename("mask_decoder.mask_layers.{i}.layers.{j}.{rest}", heads),
        Rename("mask_decoder.score_layers.layers.{j}.{rest}", "mask_decoder.iou_prediction_head.layers.{j}.{rest}"),
        *(Drop(name, "the pixels' mean and deviation, constants of ours", optional=True) for name in _PIXELS),
    )


_PIXELS = ("pixel_mean", "pixel_std")


def _layers(ours: str, theirs: str, count: int) -> KeyTable:
    """Layers that transformers names proj_in, layers.0 ..., proj_out."""
    names = ["proj_in", *(f"layers.{i}" for i in range(count - 2)), "proj_out"]
    return tuple(Rename(f"{ours}.layers.{j}.{{rest}}", f"{theirs}.{name}.{{rest}}") for j, name in enumerate(names))


def hf_table(config: SamConfig) -> KeyTable:
    """The model against transformers' `SamModel`."""
    names = {
        "blocks": "layers", "patch": "projection", "norm1": "layer_norm1", "norm2": "layer_norm2",
        "neck": "conv1 layer_norm1 conv2 layer_norm2",
    }  # fmt: skip
    tied = "prompt_encoder.shared_embedding.positional_embedding"
    upscale = {"0": "upscale_conv1", "1": "upscale_layer_norm", "3": "upscale_conv2"}
    heads = "mask_decoder.output_hypernetworks_mlps.{i}"
    return (
        *_encoder(config, "vision_encoder", names),
        Rename("prompt_encoder.frequencies", "shared_image_embedding.positional_embedding"),
        Drop(
            tied,
            "the same as shared_image_embedding",
            make=lambda ours: {tied: ours["prompt_encoder.frequencies"]},
            optional=True,
        ),
        *_prompts(config, "point_embed", "mask_embed", "conv1 layer_norm1 conv2 layer_norm2 conv3"),
        *_blocks(("layer_norm1", "layer_norm2", "layer_norm3", "layer_norm4"), "layer_norm_final_attn"),
        _score_token(config),
        *_renamed("mask_decoder", "mask_decoder", {f"upscale.{i}": name for i, name in upscale.items()}),
        *_layers("mask_decoder.mask_layers.{i}", heads, 3),
        *_layers("mask_decoder.score_layers", "mask_decoder.iou_prediction_head", config.decoder.score_depth),
    )


def hf_json(config: SamConfig) -> dict[str, Any]:
    """The `config.json` of transformers for our configuration."""
    encoder, decoder = config.encoder, config.decoder
    return {
        "architectures": ["SamModel"],
        "model_type": "sam",
        "vision_config": {
            "hidden_size": encoder.width,
            "output_channels": encoder.out_channels,
            "num_hidden_layers": encoder.depth,
            "num_attention_heads": encoder.num_heads,
            "image_size": encoder.size,
            "patch_size": encoder.patch_size,
            "layer_norm_eps": encoder.eps,
            "mlp_ratio": encoder.mlp_ratio,
            "mlp_dim": int(encoder.width * encoder.mlp_ratio),
            "window_size": encoder.window,
            "global_attn_indexes": list(encoder.global_blocks),
            "num_pos_feats": encoder.out_channels // 2,
        },
        "prompt_encoder_config": {
            "hidden_size": encoder.out_channels,
            "image_size": encoder.size,
            "patch_size": encoder.patch_size,
            "image_embedding_size": encoder.side,
            "mask_input_channels": config.mask_channels,
        },
        "mask_decoder_config": {
            "hidden_size": encoder.out_channels,
            "mlp_dim": decoder.hidden,
            "num_hidden_layers": decoder.depth,
            "num_attention_heads": decoder.num_heads,
            "attention_downsample_rate": decoder.shrink,
            "num_multimask_outputs": decoder.answers,
            "iou_head_depth": decoder.score_depth,
            "iou_head_hidden_dim": decoder.score_hidden,
            "layer_norm_eps": decoder.eps,
        },
    }


_FIXED: Mapping[str, Mapping[str, object]] = {
    "vision_config": {
        "qkv_bias": True,
        "use_abs_pos": True,
        "use_rel_pos": True,
        "hidden_act": "gelu",
        "num_channels": 3,
    },
    "prompt_encoder_config": {"hidden_act": "gelu", "num_point_embeddings": 4},
    "mask_decoder_config": {"hidden_act": "relu"},
}
"""What is the same in every model of ours, by part."""


def hf_config(theirs: Mapping[str, Any]) -> SamConfig:
    """Our configuration for transformers' `config.json`; what it leaves out is as transformers has it.

    Raises:
        WeightsError: It asks for something that Segment Anything does not have.
    """
    vision, prompts, decoder = (theirs.get(name) or {} for name in _FIXED)
    for part, fixed in _FIXED.items():
        given = theirs.get(part) or {}
        strange = {name: given[name] for name, value in fixed.items() if given.get(name, value) != value}
        if strange:
            raise WeightsError(f"{part} says {strange}, which Segment Anything does not have; take its published files")
    return SamConfig(
        encoder=VitDetConfig(
            size=vision.get("image_size", 1024),
            patch_size=vision.get("patch_size", 16),
            width=vision.get("hidden_size", 768),
            depth=vision.get("num_hidden_layers", 12),
            num_heads=vision.get("num_attention_heads", 12),
            mlp_ratio=_ratio(vision),
            window=vision.get("window_size", 14),
            global_blocks=tuple(vision.get("global_attn_indexes", (2, 5, 8, 11))),
            out_channels=vision.get("output_channels", 256),
            eps=vision.get("layer_norm_eps", 1e-6),
        ),
        decoder=MaskDecoderConfig(
            depth=decoder.get("num_hidden_layers", 2),
            num_heads=decoder.get("num_attention_heads", 8),
            hidden=decoder.get("mlp_dim", 2048),
            shrink=decoder.get("attention_downsample_rate", 2),
            answers=decoder.get("num_multimask_outputs", 3),
            score_hidden=decoder.get("iou_head_hidden_dim", 256),
            score_depth=decoder.get("iou_head_depth", 3),
            eps=decoder.get("layer_norm_eps", 1e-6),
        ),
        mask_channels=prompts.get("mask_input_channels", 16),
    )


def _ratio(vision: Mapping[str, Any]) -> float:
    """Hidden channels of the MLPs as a multiple of the width; the files of some sizes say them as they are."""
    hidden = vision.get("mlp_dim")
    return vision.get("mlp_ratio", 4.0) if hidden is None else hidden / vision.get("hidden_size", 768)


def read_meta(path: Path, config: SamConfig | None) -> Checkpoint:
    """Reads Meta's file.

    Raises:
        RequestError: No size was named; the file does not say it.
        FileError: The file is missing or damaged.
        WeightsError: The keys or shapes do not fit the size.
    """
    if config is None:
        raise RequestError("Meta's files do not say which size they hold; name vit_b, vit_l or vit_h with --preset")
    return Checkpoint(config=config, tensors=to_ours(meta_table(config), read_tensors(path)))


def write_meta(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the same keys as safetensors."""
    write_tensors(path, to_theirs(meta_table(checkpoint.config), checkpoint.tensors))


def read_hf(path: Path, config: SamConfig | None) -> Checkpoint:
    """Reads transformers' folder; its `config.json` says the size.

    Raises:
        FileError: No such folder, or a file in it is missing or damaged.
        WeightsError: It is of another kind of model, or the keys do not fit.
    """
    theirs = read_folder_config(path)
    if theirs.get("model_type", "sam") != "sam":
        raise WeightsError(f"{path} holds a model of type {theirs['model_type']!r}, not 'sam'")
    found = hf_config(theirs)
    return Checkpoint(config=found, tensors=_ours(found, read_folder_tensors(path)))


def _ours(config: SamConfig, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    return to_ours(hf_table(config), theirs)


def write_hf(checkpoint: Checkpoint, path: Path) -> None:
    """Writes such a folder."""
    config: SamConfig = checkpoint.config
    write_folder(path, hf_json(config), to_theirs(hf_table(config), checkpoint.tensors))


PUBLISHED = ("vit_b", "vit_l", "vit_h")
"""The sizes that these layouts have a place for: neither of them knows words."""

FORMATS = {
    "meta": CheckpointFormat(
        description="The file of facebookresearch/segment-anything, such as sam_vit_b_01ec64.pth. Name the preset.",
        read=read_meta,
        write=write_meta,
        presets=PUBLISHED,
    ),
    "hf": CheckpointFormat(
        description="The folder of transformers' SamModel, such as facebook/sam-vit-base.",
        read=read_hf,
        write=write_hf,
        presets=PUBLISHED,
    ),
}
