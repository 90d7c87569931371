"""The plain vision transformer for dense tasks: windows in most blocks, everywhere in a few, and a neck.

Source: Exploring Plain Vision Transformer Backbones for Object Detection, arXiv:2203.16527, section 3; as the image
encoder of Segment Anything, arXiv:2304.02643, appendix A.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bottega.layers import ChannelNorm, GridAttention, Mlp


@dataclass(frozen=True, kw_only=True, slots=True)
class VitDetConfig:
    """Size of the transformer.

    Args:
        size: Side of a picture in pixels.
        patch_size: Side of a patch in pixels.
        width: Channels of a token.
        depth: Blocks.
        num_heads: Attention heads.
        mlp_ratio: Hidden channels of the MLPs as a multiple of `width`.
        window: Side of an attention window in tokens.
        global_blocks: The blocks, from 0, that attend everywhere.
        out_channels: Channels behind the neck.
        eps: Epsilon of the normalisations.
    """

    size: int = 1024
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    window: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    out_channels: int = 256
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.size % self.patch_size:
            raise ValueError(f"size {self.size} must be a multiple of patch_size {self.patch_size}")
        if not all(0 <= block < self.depth for block in self.global_blocks):
            raise ValueError(f"global_blocks {self.global_blocks} must lie between 0 and {self.depth - 1}")

    @property
    def side(self) -> int:
        """Tokens along a side."""
        return self.size // self.patch_size


VIT_DET_SIZES = {
    "b": VitDetConfig(),
    "l": VitDetConfig(width=1024, depth=24, num_heads=16, global_blocks=(5, 11, 17, 23)),
    "h": VitDetConfig(width=1280, depth=32, num_heads=16, global_blocks=(7, 15, 23, 31)),
}
"""The sizes of Segment Anything."""


class VitDetBlock(nn.Module):
    """A pre-normalised transformer block whose attention has relative positions along rows and columns."""

    def __init__(self, config: VitDetConfig, *, everywhere: bool) -> None:
        super().__init__()
        side = config.side if everywhere else config.window
        self.norm1 = nn.LayerNorm(config.width, eps=config.eps)
        self.attention = GridAttention(config.width, config.num_heads, (side, side), window=not everywhere)
        self.norm2 = nn.LayerNorm(config.width, eps=config.eps)
        self.mlp = Mlp(config.width, int(config.width * config.mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(batch, rows, columns, width)` to the same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VitDet(nn.Module):
    """Pictures to a map of features."""

    def __init__(self, config: VitDetConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size)
        self.pos_embed = nn.Parameter(torch.empty(config.side, config.side, config.width))
        self.blocks = nn.ModuleList(
            VitDetBlock(config, everywhere=number in config.global_blocks) for number in range(config.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(config.width, config.out_channels, 1, bias=False),
            ChannelNorm(config.out_channels),
            nn.Conv2d(config.out_channels, config.out_channels, 3, padding=1, bias=False),
            ChannelNorm(config.out_channels),
        )
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, pictures: Tensor) -> Tensor:
        """Normalised pictures `(batch, 3, size, size)` to features `(batch, out_channels, side, side)`.

        Raises:
            ValueError: If the pictures have another size than the positions were learned for.
        """
        if pictures.shape[-2:] != (self.config.size, self.config.size):
            sides = "x".join(map(str, pictures.shape[-2:]))
            raise ValueError(f"a {sides} picture does not fit a transformer for {self.config.size} pixels; resize it")
        x = self.patch_embed(pictures).movedim(1, -1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.neck(x.movedim(-1, 1))
