"""Parts of latent diffusion in the layouts of its first repositories: CompVis' autoencoder, and whole CLIP models."""

from __future__ import annotations

from typing import Final

from bottega.networks.autoencoder_kl import AutoencoderKlConfig
from bottega.networks.tables import CLIP_TEXT_KEYS, CLIP_VISION_KEYS
from bottega.weights import ConvAsLinear, Drop, Fuse, KeyTable, Rename, Rule


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


def compvis_autoencoder_keys(config: AutoencoderKlConfig) -> KeyTable:
    """CompVis' autoencoder, as latent diffusion, U-ViT and UniDiffuser publish it (`autoencoder_kl.pth`)."""
    return (
        *_side(config, "encoder"),
        *_side(config, "decoder"),
        Rename("to_moments.{rest}", "quant_conv.{rest}"),
        Rename("from_latent.{rest}", "post_quant_conv.{rest}"),
    )


def _without(*parts: str) -> KeyTable:
    """What a whole CLIPModel holds besides one tower."""
    why = "of CLIP's other tower or of the comparison with it"
    return (
        *(Drop(f"{part}.{{rest}}", why, optional=True) for part in parts),
        Drop("logit_scale", why, optional=True),
    )


WHOLE_CLIP_TEXT_KEYS: Final[KeyTable] = (
    *CLIP_TEXT_KEYS,
    *_without("vision_model", "visual_projection", "text_projection"),
)
"""transformers' CLIPTextModel, or the text tower of its CLIPModel."""

WHOLE_CLIP_VISION_KEYS: Final[KeyTable] = (*CLIP_VISION_KEYS, *_without("text_model", "text_projection"))
"""transformers' CLIPVisionModelWithProjection, or the picture tower of its CLIPModel."""
