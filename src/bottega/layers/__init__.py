"""Layers that several published networks share."""

from bottega.layers.attention import KeyValueCache, SelfAttention, attend, merge_heads, split_heads
from bottega.layers.block import PostNormBlock, PreNormBlock
from bottega.layers.conv import Downsample, PixelAttention, ResnetBlock, Upsample
from bottega.layers.execution import LinearRates, linear_rates, prepare_for_inference, undo_preparation
from bottega.layers.mlp import Activation, Mlp, activate
from bottega.layers.patch import PatchEmbed, unpatchify
from bottega.layers.position import sinusoid

__all__ = [
    "Activation",
    "Downsample",
    "KeyValueCache",
    "LinearRates",
    "Mlp",
    "PatchEmbed",
    "PixelAttention",
    "PostNormBlock",
    "PreNormBlock",
    "ResnetBlock",
    "SelfAttention",
    "Upsample",
    "activate",
    "attend",
    "linear_rates",
    "merge_heads",
    "prepare_for_inference",
    "sinusoid",
    "split_heads",
    "undo_preparation",
    "unpatchify",
]
