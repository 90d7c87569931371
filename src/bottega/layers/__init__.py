"""Layers that several published networks share."""

from bottega.layers.attention import KeyValueCache, SelfAttention, attend, attend_grouped, merge_heads, split_heads
from bottega.layers.block import PostNormBlock, PreNormBlock
from bottega.layers.conv import Downsample, PixelAttention, ResnetBlock, Upsample
from bottega.layers.execution import LinearRates, linear_rates, prepare_for_inference, undo_preparation
from bottega.layers.lora import (
    Lora,
    LoraConfig,
    LoraFactors,
    LoraPart,
    applied,
    linear_of,
    lora_key,
    merged,
    merged_weight,
)
from bottega.layers.memory import FullMemory, JoinedMemory, Memory
from bottega.layers.mlp import Activation, GatedMlp, Mlp, activate
from bottega.layers.norm import RmsNorm
from bottega.layers.patch import PatchEmbed, unpatchify
from bottega.layers.position import sinusoid
from bottega.layers.rotary import Rotary, RotaryLayout, Turns

__all__ = [
    "Activation",
    "Downsample",
    "FullMemory",
    "GatedMlp",
    "JoinedMemory",
    "KeyValueCache",
    "LinearRates",
    "Lora",
    "LoraConfig",
    "LoraFactors",
    "LoraPart",
    "Memory",
    "Mlp",
    "PatchEmbed",
    "PixelAttention",
    "PostNormBlock",
    "PreNormBlock",
    "ResnetBlock",
    "RmsNorm",
    "Rotary",
    "RotaryLayout",
    "SelfAttention",
    "Turns",
    "Upsample",
    "activate",
    "applied",
    "attend",
    "attend_grouped",
    "linear_of",
    "linear_rates",
    "lora_key",
    "merge_heads",
    "merged",
    "merged_weight",
    "prepare_for_inference",
    "sinusoid",
    "split_heads",
    "undo_preparation",
    "unpatchify",
]
