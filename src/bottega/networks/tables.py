"""Key tables and configurations of the shared networks in the layouts that diffusers and transformers publish."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from bottega.errors import WeightsError
from bottega.layers import Activation
from bottega.networks.autoencoder_kl import AutoencoderKlConfig
from bottega.networks.clip import ClipTextConfig, ClipVisionConfig
from bottega.networks.gpt2 import Gpt2Config
from bottega.networks.vit import VitConfig
from bottega.weights import (
    Drop,
    Fuse,
    KeyTable,
    Rename,
    Reshape,
    Transpose,
    nested,
    read_folder_tensors,
    to_ours,
    to_theirs,
    write_folder,
)

_RESNET_PARTS = (("norm1", "norm1"), ("conv1", "conv1"), ("norm2", "norm2"), ("conv2", "conv2"))
_QKV = ("to_q", "to_k", "to_v")


def _resnets(ours: str, theirs: str) -> KeyTable:
    return tuple(Rename(f"{ours}.{a}.{{rest}}", f"{theirs}.{b}.{{rest}}") for a, b in _RESNET_PARTS)


def _middle(side: str) -> KeyTable:
    ours, theirs = f"{side}.middle", f"{side}.mid_block"
    attention = tuple(
        Fuse(f"{ours}.attention.qkv.{kind}", tuple(f"{theirs}.attentions.0.{part}.{kind}" for part in _QKV))
        for kind in ("weight", "bias")
    )
    return (
        *_resnets(f"{ours}.block1", f"{theirs}.resnets.0"),
        *_resnets(f"{ours}.block2", f"{theirs}.resnets.1"),
        Rename(f"{ours}.attention.norm.{{rest}}", f"{theirs}.attentions.0.group_norm.{{rest}}"),
        *attention,
        Rename(f"{ours}.attention.proj.{{rest}}", f"{theirs}.attentions.0.to_out.0.{{rest}}"),
        Rename(f"{side}.conv_in.{{rest}}", f"{side}.conv_in.{{rest}}"),
        Rename(f"{side}.norm_out.{{rest}}", f"{side}.conv_norm_out.{{rest}}"),
        Rename(f"{side}.conv_out.{{rest}}", f"{side}.conv_out.{{rest}}"),
    )


def _shortcut(side: str, stage: str) -> Rename:
    ours = f"{side}.stages.{{i}}.blocks.{{j}}.shortcut.{{rest}}"
    return Rename(ours, f"{side}.{stage}.{{i}}.resnets.{{j}}.conv_shortcut.{{rest}}")


AUTOENCODER_KL_KEYS: KeyTable = (
    *_resnets("encoder.stages.{i}.blocks.{j}", "encoder.down_blocks.{i}.resnets.{j}"),
    _shortcut("encoder", "down_blocks"),
    Rename("encoder.stages.{i}.down.conv.{rest}", "encoder.down_blocks.{i}.downsamplers.0.conv.{rest}"),
    *_middle("encoder"),
    *_resnets("decoder.stages.{i}.blocks.{j}", "decoder.up_blocks.{i}.resnets.{j}"),
    _shortcut("decoder", "up_blocks"),
    Rename("decoder.stages.{i}.up.conv.{rest}", "decoder.up_blocks.{i}.upsamplers.0.conv.{rest}"),
    *_middle("decoder"),
    Rename("to_moments.{rest}", "quant_conv.{rest}"),
    Rename("from_latent.{rest}", "post_quant_conv.{rest}"),
)
"""diffusers' AutoencoderKL, for autoencoders of two or more resolutions with unequal channels."""


def autoencoder_kl_config(theirs: Mapping[str, Any]) -> AutoencoderKlConfig:
    """Our configuration for diffusers' `config.json` of an AutoencoderKL."""
    return AutoencoderKlConfig(
        picture_channels=theirs["in_channels"],
        latent_channels=theirs["latent_channels"],
        channels=tuple(theirs["block_out_channels"]),
        blocks_per_stage=theirs["layers_per_block"],
        groups=theirs["norm_num_groups"],
        scale=theirs["scaling_factor"],
        middle_attention=theirs.get("mid_block_add_attention", True),
    )


def autoencoder_kl_json(config: AutoencoderKlConfig, picture_size: int) -> dict[str, Any]:
    """Diffusers' `config.json` for our configuration."""
    stages = len(config.channels)
    return {
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "block_out_channels": list(config.channels),
        "down_block_types": ["DownEncoderBlock2D"] * stages,
        "in_channels": config.picture_channels,
        "latent_channels": config.latent_channels,
        "layers_per_block": config.blocks_per_stage,
        "mid_block_add_attention": config.middle_attention,
        "norm_num_groups": config.groups,
        "out_channels": config.picture_channels,
        "sample_size": picture_size,
        "scaling_factor": config.scale,
        "up_block_types": ["UpDecoderBlock2D"] * stages,
    }


def read_autoencoder_kl(folder: Path) -> dict[str, Tensor]:
    """The tensors of diffusers' folder of an autoencoder under our names.

    Raises:
        FileError: No such folder, no weights in it, or damaged ones.
        WeightsError: Keys that are not an autoencoder's.
    """
    return to_ours(AUTOENCODER_KL_KEYS, read_folder_tensors(folder))


def write_autoencoder_kl(
    folder: Path, config: AutoencoderKlConfig, picture_size: int, ours: Mapping[str, Tensor]
) -> None:
    """Writes such a folder.

    Args:
        folder: Made when it is missing.
        config: The autoencoder's size.
        picture_size: Side of the pictures that it was trained on, in pixels.
        ours: Its tensors under our names.
    """
    layout, theirs = autoencoder_kl_json(config, picture_size), to_theirs(AUTOENCODER_KL_KEYS, ours)
    write_folder(folder, layout, theirs, name="diffusion_pytorch_model.safetensors")


def _clip_blocks(theirs: str) -> KeyTable:
    attention = f"{theirs}.self_attn"
    fused = tuple(
        Fuse(f"blocks.{{i}}.attention.qkv.{kind}", tuple(f"{attention}.{part}_proj.{kind}" for part in "qkv"))
        for kind in ("weight", "bias")
    )
    return (
        *fused,
        Rename("blocks.{i}.attention.proj.{rest}", f"{attention}.out_proj.{{rest}}"),
        Rename("blocks.{i}.norm1.{rest}", f"{theirs}.layer_norm1.{{rest}}"),
        Rename("blocks.{i}.norm2.{rest}", f"{theirs}.layer_norm2.{{rest}}"),
        Rename("blocks.{i}.mlp.{rest}", f"{theirs}.mlp.{{rest}}"),
    )


CLIP_TEXT_KEYS: KeyTable = (
    Rename("token_embed.weight", "text_model.embeddings.token_embedding.weight"),
    Rename("pos_embed", "text_model.embeddings.position_embedding.weight"),
    *_clip_blocks("text_model.encoder.layers.{i}"),
    Rename("norm.{rest}", "text_model.final_layer_norm.{rest}"),
    Drop("text_model.embeddings.position_ids", "the numbers 0 to 76, which older versions stored", optional=True),
)
"""transformers' CLIPTextModel."""

CLIP_VISION_KEYS: KeyTable = (
    *nested(
        "vit",
        "vision_model",
        (
            Rename("class_token", "embeddings.class_embedding"),
            Rename("patch_embed.proj.weight", "embeddings.patch_embedding.weight"),
            Rename("pos_embed", "embeddings.position_embedding.weight"),
            Rename("norm_in.{rest}", "pre_layrnorm.{rest}"),  # spelled so in the published files
            *_clip_blocks("encoder.layers.{i}"),
            Rename("norm_out.{rest}", "post_layernorm.{rest}"),
            Drop("embeddings.position_ids", "the numbers 0 to 49, which older versions stored", optional=True),
        ),
    ),
    Rename("projection.weight", "visual_projection.weight"),
)
"""transformers' CLIPVisionModelWithProjection."""


def vit_keys(config: VitConfig) -> KeyTable:
    """Transformers' ViTModel."""
    tokens, width = 1 + (config.size // config.patch_size) ** 2, config.width
    theirs = "encoder.layer.{i}"
    fused = tuple(
        Fuse(
            f"blocks.{{i}}.attention.qkv.{kind}",
            tuple(f"{theirs}.attention.attention.{part}.{kind}" for part in ("query", "key", "value")),
        )
        for kind in ("weight", "bias")
    )
    return (
        Rename("class_token", "embeddings.cls_token", change=Reshape((width,), (1, 1, width))),
        Rename("pos_embed", "embeddings.position_embeddings", change=Reshape((tokens, width), (1, tokens, width))),
        Rename("patch_embed.proj.{rest}", "embeddings.patch_embeddings.projection.{rest}"),
        *fused,
        Rename("blocks.{i}.attention.proj.{rest}", f"{theirs}.attention.output.dense.{{rest}}"),
        Rename("blocks.{i}.norm1.{rest}", f"{theirs}.layernorm_before.{{rest}}"),
        Rename("blocks.{i}.norm2.{rest}", f"{theirs}.layernorm_after.{{rest}}"),
        Rename("blocks.{i}.mlp.fc1.{rest}", f"{theirs}.intermediate.dense.{{rest}}"),
        Rename("blocks.{i}.mlp.fc2.{rest}", f"{theirs}.output.dense.{{rest}}"),
        Rename("norm_out.{rest}", "layernorm.{rest}"),
        Drop("pooler.dense.{rest}", "a head that the published classifiers do not use", optional=True),
    )


_ACTIVATIONS = {"quick_gelu": Activation.QUICK_GELU, "gelu": Activation.GELU, "gelu_new": Activation.GELU_TANH}


def _activation(name: str) -> Activation:
    if name not in _ACTIVATIONS:
        raise WeightsError(f"hidden_act is {name!r}, but only {', '.join(_ACTIVATIONS)} are known here")
    return _ACTIVATIONS[name]


def _activation_name(activation: Activation) -> str:
    return next(name for name, known in _ACTIVATIONS.items() if known is activation)


def clip_text_config(theirs: Mapping[str, Any], end_token: int) -> ClipTextConfig:
    """Our configuration for transformers' `config.json` of a CLIPTextModel.

    Args:
        theirs: Their configuration.
        end_token: The tokenizer's end-of-text id; published configurations before 2023 state it wrongly.
    """
    return ClipTextConfig(
        vocabulary=theirs["vocab_size"],
        context=theirs["max_position_embeddings"],
        width=theirs["hidden_size"],
        depth=theirs["num_hidden_layers"],
        num_heads=theirs["num_attention_heads"],
        activation=_activation(theirs["hidden_act"]),
        end_token=end_token,
    )


def clip_text_json(config: ClipTextConfig) -> dict[str, Any]:
    """Transformers' `config.json` for our configuration."""
    return {
        "architectures": ["CLIPTextModel"],
        "bos_token_id": None,
        "eos_token_id": config.end_token,
        "hidden_act": _activation_name(config.activation),
        "hidden_size": config.width,
        "intermediate_size": 4 * config.width,
        "max_position_embeddings": config.context,
        "model_type": "clip_text_model",
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.depth,
        "pad_token_id": config.end_token,
        "vocab_size": config.vocabulary,
    }


def clip_vision_config(theirs: Mapping[str, Any]) -> ClipVisionConfig:
    """Our configuration for transformers' `config.json` of a CLIPVisionModelWithProjection."""
    return ClipVisionConfig(
        size=theirs["image_size"],
        patch_size=theirs["patch_size"],
        width=theirs["hidden_size"],
        depth=theirs["num_hidden_layers"],
        num_heads=theirs["num_attention_heads"],
        embedding=theirs["projection_dim"],
        activation=_activation(theirs["hidden_act"]),
    )


def clip_vision_json(config: ClipVisionConfig) -> dict[str, Any]:
    """Transformers' `config.json` for our configuration."""
    return {
        "architectures": ["CLIPVisionModelWithProjection"],
        "hidden_act": _activation_name(config.activation),
        "hidden_size": config.width,
        "image_size": config.size,
        "intermediate_size": 4 * config.width,
        "model_type": "clip_vision_model",
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.depth,
        "patch_size": config.patch_size,
        "projection_dim": config.embedding,
    }


def _tied_head(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"lm_head.weight": ours["token_embed.weight"].clone()}


GPT2_KEYS: KeyTable = (
    Rename("token_embed.weight", "transformer.wte.weight"),
    Rename("pos_embed", "transformer.wpe.weight"),
    Rename("blocks.{i}.norm1.{rest}", "transformer.h.{i}.ln_1.{rest}"),
    Rename("blocks.{i}.attention.qkv.weight", "transformer.h.{i}.attn.c_attn.weight", change=Transpose()),
    Rename("blocks.{i}.attention.qkv.bias", "transformer.h.{i}.attn.c_attn.bias"),
    Rename("blocks.{i}.attention.proj.weight", "transformer.h.{i}.attn.c_proj.weight", change=Transpose()),
    Rename("blocks.{i}.attention.proj.bias", "transformer.h.{i}.attn.c_proj.bias"),
    Rename("blocks.{i}.norm2.{rest}", "transformer.h.{i}.ln_2.{rest}"),
    Rename("blocks.{i}.mlp.fc1.weight", "transformer.h.{i}.mlp.c_fc.weight", change=Transpose()),
    Rename("blocks.{i}.mlp.fc1.bias", "transformer.h.{i}.mlp.c_fc.bias"),
    Rename("blocks.{i}.mlp.fc2.weight", "transformer.h.{i}.mlp.c_proj.weight", change=Transpose()),
    Rename("blocks.{i}.mlp.fc2.bias", "transformer.h.{i}.mlp.c_proj.bias"),
    Rename("norm.{rest}", "transformer.ln_f.{rest}"),
    Drop("lm_head.weight", "tied to the token embeddings", make=_tied_head, optional=True),
    Drop("transformer.h.{i}.attn.bias", "the causal mask, which older versions stored", optional=True),
    Drop("transformer.h.{i}.attn.masked_bias", "a constant, which older versions stored", optional=True),
)
"""transformers' GPT2LMHeadModel."""

CAPTION_DECODER_KEYS: KeyTable = (
    Rename("encode_prefix.{rest}", "encode_prefix.{rest}"),
    Rename("decode_prefix.{rest}", "decode_prefix.{rest}"),
    *nested("gpt2", "transformer", GPT2_KEYS),
)
"""diffusers' UniDiffuserTextDecoder."""


def gpt2_config(theirs: Mapping[str, Any]) -> Gpt2Config:
    """Our configuration for transformers' words about a GPT-2."""
    return Gpt2Config(
        vocabulary=theirs["vocab_size"],
        context=theirs["n_positions"],
        width=theirs["n_embd"],
        depth=theirs["n_layer"],
        num_heads=theirs["n_head"],
    )


def gpt2_json(config: Gpt2Config) -> dict[str, Any]:
    """Transformers' words for our configuration."""
    return {
        "activation_function": "gelu_new",
        "n_embd": config.width,
        "n_head": config.num_heads,
        "n_layer": config.depth,
        "n_positions": config.context,
        "vocab_size": config.vocabulary,
    }
