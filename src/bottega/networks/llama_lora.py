"""Adapters of LLaMA: the layers that published ones change, and where their outputs lie in our fused layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bottega.errors import RequestError
from bottega.layers import Lora, LoraConfig, LoraPart, linear_of
from bottega.networks.llama import Llama, LlamaConfig

LLAMA_PROJECTIONS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Every linear layer of a block, under transformers' names."""


def llama_lora_parts(config: LlamaConfig, projections: Sequence[str] = LLAMA_PROJECTIONS) -> tuple[LoraPart, ...]:
    """What an adapter of these layers changes, in every block.

    Args:
        config: The decoder's size.
        projections: Some of `LLAMA_PROJECTIONS`.

    Raises:
        RequestError: A layer that a block does not have.
    """
    width, kv = config.width, config.num_kv_heads * config.head_dim
    places = {
        "q_proj": ("attention.qkv", "self_attn", 0, width),
        "k_proj": ("attention.qkv", "self_attn", width, kv),
        "v_proj": ("attention.qkv", "self_attn", width + kv, kv),
        "o_proj": ("attention.proj", "self_attn", 0, width),
        "gate_proj": ("mlp.gate_up", "mlp", 0, config.hidden),
        "up_proj": ("mlp.gate_up", "mlp", config.hidden, config.hidden),
        "down_proj": ("mlp.down", "mlp", 0, width),
    }
    unknown = [name for name in projections if name not in places]
    if unknown or not projections:
        raise RequestError.of("projections", list(projections), f"some of {', '.join(LLAMA_PROJECTIONS)}")
    return tuple(
        LoraPart(layer=f"blocks.{block}.{layer}", peer=f"model.layers.{block}.{group}.{name}", start=start, size=size)
        for block in range(config.depth)
        for name, (layer, group, start, size) in places.items()
        if name in projections
    )


def llama_lora(model: Llama, config: LoraConfig, projections: Sequence[str] = LLAMA_PROJECTIONS) -> Lora:
    """A new adapter of a decoder, which changes nothing yet."""
    parts = llama_lora_parts(model.config, projections)
    return Lora({part.layer: linear_of(model, part.layer) for part in parts}, parts, config)
