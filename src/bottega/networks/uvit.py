"""The trunk of U-ViT: a transformer whose shallow and deep blocks are joined by long skip connections.

Source: Bao et al., "All are Worth Words", arXiv:2209.12152, section 3. Two or more rooms build on it (U-ViT over
classes or text, UniDiffuser over both modalities, Vidu over video), each with its own tokens in front of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn

from bottega.layers import PostNormBlock, PreNormBlock


class BlockNorm(Enum):
    """Where a block normalises."""

    PRE = "pre"
    """U-ViT: inside the residual branches, and nothing after the skip projection."""
    POST = "post"
    """UniDiffuser: on the residual stream, and once more after each skip projection."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UVitTrunkConfig:
    """Size of a trunk.

    Args:
        width: Channels of a token.
        depth: Blocks apart from the middle one; half before it, half after. Even.
        num_heads: Attention heads.
        mlp_ratio: Hidden channels of the MLPs as a multiple of `width`.
        qkv_bias: Whether queries, keys and values have a bias.
        norm: Where blocks normalise.
        long_skips: Whether deep blocks see their shallow partners; False is the paper's ablation.
    """

    width: int
    depth: int
    num_heads: int
    mlp_ratio: float = 4.0
    qkv_bias: bool = False
    norm: BlockNorm = BlockNorm.PRE
    long_skips: bool = True

    def __post_init__(self) -> None:
        if self.depth < 2 or self.depth % 2:
            raise ValueError(f"depth is {self.depth}, but it must be even and at least 2")
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} must be a multiple of num_heads {self.num_heads}")


class LongSkip(nn.Module):
    """Joins a deep token with its shallow partner: a linear map of both, normalised in the post-norm variant."""

    def __init__(self, width: int, norm: BlockNorm) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width) if norm is BlockNorm.POST else nn.Identity()

    def forward(self, deep: Tensor, shallow: Tensor) -> Tensor:
        """Two `(batch, tokens, width)` to one."""
        return self.norm(self.linear(torch.cat((deep, shallow), dim=-1)))


class UVitTrunk(nn.Module):
    """Blocks in, a middle block, blocks out with long skips, and a last normalisation."""

    def __init__(self, config: UVitTrunkConfig) -> None:
        super().__init__()
        half = config.depth // 2
        self.in_blocks = nn.ModuleList(_block(config) for _ in range(half))
        self.mid_block = _block(config)
        skips = (LongSkip(config.width, config.norm) for _ in range(half if config.long_skips else 0))
        self.skips = nn.ModuleList(skips)
        self.out_blocks = nn.ModuleList(_block(config) for _ in range(half))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(batch, tokens, width)` to the same shape."""
        shallow = []
        for block in self.in_blocks:
            x = block(x)
            shallow.append(x)
        x = self.mid_block(x)
        for depth, block in enumerate(self.out_blocks):
            if self.skips:
                x = self.skips[depth](x, shallow.pop())
            x = block(x)
        return self.norm(x)

    @property
    def middle_of_the_way_out(self) -> nn.Module:
        """The block whose tokens tell places apart best: halfway through the blocks out."""
        return self.out_blocks[len(self.out_blocks) // 2]

    @property
    def projections(self) -> tuple[nn.Linear, ...]:
        """The layers of the middle block and the blocks out that make queries, keys and values, side by side."""
        blocks = (self.mid_block, *self.out_blocks)
        return tuple(block.get_submodule("attention.qkv") for block in blocks)  # pyright: ignore[reportReturnType]


def initialise_vit(module: nn.Module, std: float = 0.02) -> None:
    """The initialisation of ViT and U-ViT: truncated normal weights, zero biases, unit norms; for every submodule."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _block(config: UVitTrunkConfig) -> nn.Module:
    block = PreNormBlock if config.norm is BlockNorm.PRE else PostNormBlock
    return block(config.width, config.num_heads, mlp_ratio=config.mlp_ratio, qkv_bias=config.qkv_bias)
