"""The vision transformer: a picture's patches and a class token through pre-normalised blocks.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", arXiv:2010.11929, section 3.1; sizes from its table 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bottega.layers import Activation, PatchEmbed, PreNormBlock


@dataclass(frozen=True, kw_only=True, slots=True)
class VitConfig:
    """Size of a vision transformer.

    Args:
        size: Side of a picture in pixels.
        patch_size: Side of a patch in pixels.
        width: Channels of a token.
        depth: Blocks.
        num_heads: Attention heads.
        mlp_ratio: Hidden channels of the MLPs as a multiple of `width`.
        activation: The MLPs' nonlinearity.
        eps: Epsilon of the normalisations.
        patch_bias: Whether the patch projection has a bias.
        norm_in: Whether tokens are normalised before the first block, as in CLIP.
    """

    size: int = 224
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    activation: Activation = Activation.GELU
    eps: float = 1e-12
    patch_bias: bool = True
    norm_in: bool = False

    def __post_init__(self) -> None:
        if self.size % self.patch_size:
            raise ValueError(f"size {self.size} must be a multiple of patch_size {self.patch_size}")


VIT_SIZES = {
    "base-16": VitConfig(),
    "large-16": VitConfig(width=1024, depth=24, num_heads=16),
    "huge-14": VitConfig(patch_size=14, width=1280, depth=32, num_heads=16),
}
"""The published sizes, arXiv:2010.11929, table 1: 86 M, 303 M and 631 M parameters without a head."""


class Vit(nn.Module):
    """The transformer without a head."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        patches = (config.size // config.patch_size) ** 2
        self.patch_embed = PatchEmbed(3, config.width, config.patch_size, bias=config.patch_bias)
        self.class_token = nn.Parameter(torch.empty(config.width))
        self.pos_embed = nn.Parameter(torch.empty(1 + patches, config.width))
        self.norm_in = nn.LayerNorm(config.width, eps=config.eps) if config.norm_in else nn.Identity()
        self.blocks = nn.ModuleList(
            PreNormBlock(
                config.width,
                config.num_heads,
                mlp_ratio=config.mlp_ratio,
                activation=config.activation,
                eps=config.eps,
            )
            for _ in range(config.depth)
        )
        self.norm_out = nn.LayerNorm(config.width, eps=config.eps)
        nn.init.normal_(self.class_token, std=0.02)
        nn.init.normal_(self.pos_embed, std=0.02)

    def forward(self, picture: Tensor) -> Tensor:
        """Pictures `(batch, 3, size, size)` to normalised tokens `(batch, 1 + patches, width)`, the class token first.

        Raises:
            ValueError: If a picture has another size than the positions were learned for.
        """
        x = self.embed(picture)
        for block in self.blocks:
            x = block(x)
        return self.norm_out(x)

    def embed(self, picture: Tensor) -> Tensor:
        """Pictures to the tokens that go into the first block; raises as `forward` does."""
        if picture.shape[-2:] != (self.config.size, self.config.size):
            sides = "x".join(map(str, picture.shape[-2:]))
            raise ValueError(f"a {sides} picture does not fit a transformer for {self.config.size} pixels; resize it")
        patches = self.patch_embed(picture)
        first = self.class_token.expand(len(patches), 1, -1)
        return self.norm_in(torch.cat((first, patches), dim=1) + self.pos_embed)
