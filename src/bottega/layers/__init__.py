"""Layers that several published networks share."""

from bottega.layers.attention import KeyValueCache, SelfAttention, attend, merge_heads, split_heads
from bottega.layers.block import PostNormBlock, PreNormBlock
from bottega.layers.conv import Downsample, PixelAttention, ResnetBlock, Upsample
from bottega.layers.mlp import Activation, Mlp, activate
from bottega.layers.patch import PatchEmbed, unpatchify
from bottega.layers.position import sinusoid

__all__ = [
    "Activation",
    "Downsample",
    "KeyValueCache",
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
    "merge_heads",
    "sinusoid",
    "split_heads",
    "unpatchify",
]
