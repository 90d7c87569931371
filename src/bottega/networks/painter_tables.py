"""Key tables and configuration of Painter and SegGPT in the layouts of their authors and of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bottega.errors import WeightsError
from bottega.networks.painter import PainterConfig
from bottega.weights import Fuse, KeyTable, Rename, Reshape, Rule


def _token(ours: str, theirs: str, width: int) -> Rename:
    return Rename(ours, theirs, change=Reshape((width,), (1, 1, 1, width)))


def _types(theirs: tuple[str, str], width: int) -> Fuse:
    """Semantic first, as `TargetKind` numbers them."""
    return Fuse("type_tokens", theirs, change=Reshape((1, width), (1, 1, 1, width)))


def _positions(config: PainterConfig) -> Reshape:
    shape = (1 + config.position_rows**2, config.width)
    return Reshape(shape, (1, *shape))


def painter_keys(config: PainterConfig) -> KeyTable:
    """baaivision/Painter, `models_painter.py` and `models_seggpt.py`."""
    block = (
        ("norm1.{rest}", "norm1.{rest}"),
        ("norm2.{rest}", "norm2.{rest}"),
        ("attention.qkv.{rest}", "attn.qkv.{rest}"),
        ("attention.proj.{rest}", "attn.proj.{rest}"),
        ("attention.row_positions", "attn.rel_pos_h"),
        ("attention.column_positions", "attn.rel_pos_w"),
        ("mlp.{rest}", "mlp.{rest}"),
    )
    types: tuple[Rule, ...] = (_types(("type_token_cls", "type_token_ins"), config.width),) if config.typed else ()
    return (
        Rename("patch_embed.proj.{rest}", "patch_embed.proj.{rest}"),
        _token("mask_token", "mask_token", config.width),
        _token("picture_token", "segment_token_x", config.width),
        _token("target_token", "segment_token_y", config.width),
        *types,
        Rename("positions", "pos_embed", change=_positions(config)),
        *(Rename(f"blocks.{{i}}.{ours}", f"blocks.{{i}}.{theirs}") for ours, theirs in block),
        Rename("norm.{rest}", "norm.{rest}"),
        Rename("decoder.embed.{rest}", "decoder_embed.{rest}"),
        Rename("decoder.conv.{rest}", "decoder_pred.0.{rest}"),
        Rename("decoder.norm.{rest}", "decoder_pred.1.{rest}"),
        Rename("decoder.head.{rest}", "decoder_pred.3.{rest}"),
    )


def seggpt_keys(config: PainterConfig) -> KeyTable:
    """Transformers' `SegGptForImageSegmentation`."""
    front, width = "model.embeddings", config.width
    block = (
        ("norm1.{rest}", "layernorm_before.{rest}"),
        ("norm2.{rest}", "layernorm_after.{rest}"),
        ("attention.qkv.{rest}", "attention.qkv.{rest}"),
        ("attention.proj.{rest}", "attention.proj.{rest}"),
        ("attention.row_positions", "attention.rel_pos_h"),
        ("attention.column_positions", "attention.rel_pos_w"),
        ("mlp.fc1.{rest}", "mlp.lin1.{rest}"),
        ("mlp.fc2.{rest}", "mlp.lin2.{rest}"),
    )
    types = _types((f"{front}.type_token_semantic", f"{front}.type_token_instance"), width)
    return (
        Rename("patch_embed.proj.{rest}", f"{front}.patch_embeddings.projection.{{rest}}"),
        _token("mask_token", f"{front}.mask_token", width),
        _token("picture_token", f"{front}.segment_token_input", width),
        _token("target_token", f"{front}.segment_token_prompt", width),
        types,
        Rename("positions", f"{front}.position_embeddings", change=_positions(config)),
        *(Rename(f"blocks.{{i}}.{ours}", f"model.encoder.layers.{{i}}.{theirs}") for ours, theirs in block),
        Rename("norm.{rest}", "model.encoder.layernorm.{rest}"),
        Rename("decoder.embed.{rest}", "decoder.decoder_embed.{rest}"),
        Rename("decoder.conv.{rest}", "decoder.decoder_pred.conv.{rest}"),
        Rename("decoder.norm.{rest}", "decoder.decoder_pred.layernorm.{rest}"),
        Rename("decoder.head.{rest}", "decoder.decoder_pred.head.{rest}"),
    )


def seggpt_json(config: PainterConfig) -> dict[str, Any]:
    """The `config.json` of transformers' SegGPT.

    Raises:
        WeightsError: The network has no type tokens, for which that layout has a place.
    """
    if not config.typed:
        raise WeightsError("transformers' layout holds SegGPT, which has type tokens; write a Painter as authors do")
    return {
        "architectures": ["SegGptForImageSegmentation"],
        "model_type": "seggpt",
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "image_size": [2 * config.size, config.size],
        "patch_size": config.patch_size,
        "num_channels": 3,
        "qkv_bias": True,
        "mlp_dim": int(config.width * config.mlp_ratio),
        "drop_path_rate": config.drop_path,
        "pretrain_image_size": config.position_rows * config.patch_size,
        "decoder_hidden_size": config.decoder_width,
        "use_relative_position_embeddings": True,
        "merge_index": config.merge_index,
        "intermediate_hidden_state_indices": list(config.taps),
        "beta": 0.01,
    }


def seggpt_config(description: Mapping[str, Any]) -> PainterConfig:
    """The network that a `config.json` of transformers' SegGPT describes; what it leaves out is as published.

    Raises:
        WeightsError: It describes something that this network cannot be.
    """
    given = seggpt_json(PainterConfig(typed=True)) | dict(description)
    fixed = {"hidden_act": "gelu", "num_channels": 3, "qkv_bias": True, "use_relative_position_embeddings": True}
    for name, only in fixed.items():
        if given[name] != only:
            raise WeightsError(f"{name} is {given[name]!r}, but this network has {only!r} only")
    height, side = given["image_size"] if not isinstance(given["image_size"], int) else (given["image_size"],) * 2
    patch, width = int(given["patch_size"]), int(given["hidden_size"])
    if height != 2 * side:
        raise WeightsError(f"image_size is {height} x {side}, but two square pictures stand one above the other")
    hidden = 4 * width if "mlp_dim" not in description or description["mlp_dim"] is None else description["mlp_dim"]
    return PainterConfig(
        size=side,
        patch_size=patch,
        width=width,
        depth=given["num_hidden_layers"],
        num_heads=given["num_attention_heads"],
        mlp_ratio=hidden / width,
        merge_index=given["merge_index"],
        taps=tuple(given["intermediate_hidden_state_indices"]),
        decoder_width=given["decoder_hidden_size"],
        position_rows=int(given["pretrain_image_size"]) // patch,
        typed=True,
        drop_path=float(given["drop_path_rate"]),
    )
