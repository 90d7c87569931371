"""Layers that several published networks share."""

from bottega.layers.attention import KeyValueCache, SelfAttention, attend, attend_grouped, merge_heads, split_heads
from bottega.layers.block import PostNormBlock, PreNormBlock
from bottega.layers.bounded_memory import HeavyHitterMemory, StreamingMemory
from bottega.layers.conv import Downsample, PixelAttention, ResnetBlock, Upsample
from bottega.layers.drop_path import DropPath
from bottega.layers.execution import LinearRates, linear_rates, prepare_for_inference, undo_preparation
from bottega.layers.grid_attention import GridAttention, attend_on_grid, unwindows, windows
from bottega.layers.int8 import Int8Linear, linears_to_int8
from bottega.layers.latent_attention import LatentAttention, LatentConfig, LatentMemory
from bottega.layers.lora import (
    Lora,
    LoraConfig,
    LoraFactors,
    LoraPart,
    applied,
    linear_of,
    lora_key,
    merge_into,
    merged,
    merged_weight,
)
from bottega.layers.memory import FullMemory, JoinedMemory, Memory
from bottega.layers.merging import Tokens, merge
from bottega.layers.mlp import Activation, GatedMlp, Mlp, activate
from bottega.layers.moe import (
    ExpertChoice,
    MixtureOfDepths,
    Routed,
    TokenChoice,
    balance_loss,
    route,
    watched,
)
from bottega.layers.norm import ChannelNorm, RmsNorm
from bottega.layers.packed_conv import FrozenConv3x3
from bottega.layers.patch import PatchEmbed, unpatchify
from bottega.layers.position import sinusoid
from bottega.layers.rotary import Rotary, RotaryLayout, Turns

__all__ = [
    "Activation",
    "ChannelNorm",
    "Downsample",
    "DropPath",
    "ExpertChoice",
    "FrozenConv3x3",
    "FullMemory",
    "GatedMlp",
    "JoinedMemory",
    "GridAttention",
    "Int8Linear",
    "KeyValueCache",
    "LinearRates",
    "Lora",
    "LoraConfig",
    "LoraFactors",
    "LoraPart",
    "Memory",
    "MixtureOfDepths",
    "Mlp",
    "PatchEmbed",
    "PixelAttention",
    "PostNormBlock",
    "PreNormBlock",
    "ResnetBlock",
    "RmsNorm",
    "Rotary",
    "RotaryLayout",
    "Routed",
    "SelfAttention",
    "TokenChoice",
    "Turns",
    "Upsample",
    "activate",
    "applied",
    "attend",
    "attend_grouped",
    "attend_on_grid",
    "balance_loss",
    "linear_of",
    "linear_rates",
    "lora_key",
    "linears_to_int8",
    "merge_heads",
    "merge_into",
    "merged",
    "merged_weight",
    "prepare_for_inference",
    "route",
    "sinusoid",
    "split_heads",
    "undo_preparation",
    "unpatchify",
    "unwindows",
    "watched",
    "windows",
    "HeavyHitterMemory",
    "StreamingMemory",
    "LatentAttention",
    "LatentConfig",
    "LatentMemory",
    "Tokens",
    "merge",
]
