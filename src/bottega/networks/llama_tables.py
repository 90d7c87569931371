"""LLaMA in the two layouts that are published: transformers' folders, and Meta's `consolidated.*.pth`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bottega.errors import WeightsError
from bottega.networks.llama import LlamaConfig
from bottega.weights import Drop, Fuse, KeyTable, PairsAsHalves, Rename, Same


def llama_keys(config: LlamaConfig) -> KeyTable:
    """Against transformers' `LlamaForCausalLM`."""
    ours, theirs = "blocks.{i}", "model.layers.{i}"
    gate_up = tuple(f"{theirs}.mlp.{part}_proj.weight" for part in ("gate", "up"))
    return (
        Fuse(f"{ours}.mlp.gate_up.weight", gate_up),
        Rename(f"{ours}.mlp.down.weight", f"{theirs}.mlp.down_proj.weight"),
        *llama_trunk_keys(config),
    )


def llama_trunk_keys(config: LlamaConfig) -> KeyTable:
    """As `llama_keys` without the feed-forward layers."""
    ours, theirs = "blocks.{i}", "model.layers.{i}"
    qkv = tuple(f"{theirs}.self_attn.{part}_proj.weight" for part in "qkv")
    return (
        Rename("token_embed.weight", "model.embed_tokens.weight"),
        Fuse(f"{ours}.attention.qkv.weight", qkv, sizes=_qkv_sizes(config)),
        Rename(f"{ours}.attention.proj.weight", f"{theirs}.self_attn.o_proj.weight"),
        Rename(f"{ours}.norm1.weight", f"{theirs}.input_layernorm.weight"),
        Rename(f"{ours}.norm2.weight", f"{theirs}.post_attention_layernorm.weight"),
        Rename("norm.weight", "model.norm.weight"),
        *_head(config),
        Drop(f"{theirs}.self_attn.rotary_emb.inv_freq", "fixed frequencies, which our model computes", optional=True),
    )


def llama_meta_keys(config: LlamaConfig) -> KeyTable:
    """Against Meta's `consolidated.*.pth`, whose rotary heads turn neighbouring channels."""
    ours, theirs = "blocks.{i}", "layers.{i}"
    qkv = tuple(f"{theirs}.attention.w{part}.weight" for part in "qkv")
    turned = PairsAsHalves(config.head_dim)
    return (
        Rename("token_embed.weight", "tok_embeddings.weight"),
        Fuse(f"{ours}.attention.qkv.weight", qkv, sizes=_qkv_sizes(config), change=(turned, turned, Same())),
        Rename(f"{ours}.attention.proj.weight", f"{theirs}.attention.wo.weight"),
        Fuse(f"{ours}.mlp.gate_up.weight", (f"{theirs}.feed_forward.w1.weight", f"{theirs}.feed_forward.w3.weight")),
        Rename(f"{ours}.mlp.down.weight", f"{theirs}.feed_forward.w2.weight"),
        Rename(f"{ours}.norm1.weight", f"{theirs}.attention_norm.weight"),
        Rename(f"{ours}.norm2.weight", f"{theirs}.ffn_norm.weight"),
        Rename("norm.weight", "norm.weight"),
        Rename("head.weight", "output.weight"),
        Drop("rope.freqs", "fixed frequencies, which our model computes", optional=True),
    )


def llama_config(theirs: Mapping[str, Any]) -> LlamaConfig:
    """Our configuration for transformers' `config.json` of a LLaMA.

    Raises:
        WeightsError: A variant that this decoder is not: another activation, biases, scaled rotary positions.
    """
    rotary = {**(theirs.get("rope_scaling") or {}), **(theirs.get("rope_parameters") or {})}
    refused = {
        "hidden_act": theirs.get("hidden_act", "silu") != "silu",
        "attention_bias": bool(theirs.get("attention_bias", False)),
        "mlp_bias": bool(theirs.get("mlp_bias", False)),
        "rope_scaling": rotary.get("rope_type", rotary.get("type", "default")) != "default",
    }
    for name, refuse in refused.items():
        if refuse:
            raise WeightsError(f"config.json has {name} {theirs.get(name)!r}, which LLaMA and Llama 2 do not have")
    heads = theirs["num_attention_heads"]
    if theirs.get("head_dim") not in (None, theirs["hidden_size"] // heads):
        raise WeightsError(f"config.json has head_dim {theirs['head_dim']}, not hidden_size / num_attention_heads")
    return LlamaConfig(
        vocabulary=theirs["vocab_size"],
        context=theirs["max_position_embeddings"],
        width=theirs["hidden_size"],
        depth=theirs["num_hidden_layers"],
        num_heads=heads,
        num_kv_heads=theirs.get("num_key_value_heads") or heads,
        hidden=theirs["intermediate_size"],
        rope_base=float(theirs.get("rope_theta") or rotary.get("rope_theta") or 10_000.0),
        eps=theirs["rms_norm_eps"],
        tied=theirs.get("tie_word_embeddings", False),
    )


def llama_json(config: LlamaConfig) -> dict[str, Any]:
    """Transformers' `config.json` for our configuration."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "vocab_size": config.vocabulary,
        "max_position_embeddings": config.context,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.hidden,
        "rope_theta": config.rope_base,
        "rms_norm_eps": config.eps,
        "tie_word_embeddings": config.tied,
    }


def _qkv_sizes(config: LlamaConfig) -> tuple[int, int, int]:
    kv = config.num_kv_heads * config.head_dim
    return config.width, kv, kv


def _head(config: LlamaConfig) -> KeyTable:
    if not config.tied:
        return (Rename("head.weight", "lm_head.weight"),)
    return (Drop("lm_head.weight", "tied to the embeddings", optional=True),)
