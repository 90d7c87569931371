"""The plain vision transformer of Min-SNR and of Simplified DSB as a network of noisy pictures.

Time and class are rows of tables and tokens in front of the patches; queries and values have a bias and keys have none,
as in BEiT; nothing is normalised after the last block. Source: arXiv:2303.09556 section 4.1 and its code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bottega.layers import Mlp, PatchEmbed, attend, merge_heads, split_heads, unpatchify
from bottega.networks.uvit import initialise_vit
from bottega.weights import KeyTable, Rename, Reshape

EPS = 1e-6
HEAD_SCALE = 1e-3
"""Factor on the fresh weights of the last layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionVitConfig:
    """Size of a plain diffusion transformer.

    Args:
        size: Side of a state.
        channels: Channels of a state.
        patch_size: Side of a patch.
        width: Channels of a token.
        depth: Blocks.
        num_heads: Attention heads.
        times: Rows of the table of times; the published networks have 4000, of which 1000 are used.
        classes: Rows of the table of classes, that of the class that says nothing among them; 0 for no classes.
    """

    size: int
    channels: int
    patch_size: int
    width: int
    depth: int
    num_heads: int
    times: int = 4000
    classes: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.patch_size < 1 or self.size % self.patch_size:
            raise ValueError(f"size {self.size} must be a multiple of patch_size {self.patch_size}")
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} must be a multiple of num_heads {self.num_heads}")
        if min(self.channels, self.depth, self.times) < 1 or self.classes < 0:
            raise ValueError("channels, depth and times must be at least 1, and classes at least 0")

    @property
    def rows(self) -> int:
        """Rows of patches."""
        return self.size // self.patch_size

    @property
    def extra_tokens(self) -> int:
        """Tokens in front of the patches: the time, and the class where there is one."""
        return 1 + (self.classes > 0)

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return self.extra_tokens + self.rows**2


class KeyFreeAttention(nn.Module):
    """Self-attention whose queries and values have a bias and whose keys have none. Source: BEiT, arXiv:2106.08254."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(batch, tokens, width)` to the same shape."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (split_heads(part, self.num_heads) for part in (q + self.q_bias, k, v + self.v_bias))
        return self.proj(merge_heads(attend(q, k, v)))


class DiffusionVitBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attention = KeyFreeAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(batch, tokens, width)` to the same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class DiffusionVit(nn.Module):
    """Noisy states, times and classes to an output of the states' shape."""

    def __init__(self, config: DiffusionVitConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config.channels, config.width, config.patch_size)
        self.time_embed = nn.Embedding(config.times, config.width)
        self.class_embed = nn.Embedding(config.classes, config.width) if config.classes else None
        self.pos_embed = nn.Parameter(torch.empty(config.tokens, config.width))
        blocks = [DiffusionVitBlock(config.width, config.num_heads) for _ in range(config.depth)]
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(config.width, config.patch_size**2 * config.channels)
        self._initialise(blocks)

    def forward(self, x: Tensor, time: Tensor, classes: Tensor | None = None) -> Tensor:
        """The output for noisy states.

        Args:
            x: States `(batch, channels, size, size)`.
            time: Rows of the table of times `(batch,)`; fractions are rounded to the nearest row.
            classes: Rows of the table of classes `(batch,)`; None for networks without classes.

        Returns:
            `(batch, channels, size, size)`.
        """
        config = self.config
        tokens = [self.time_embed(time.round().long().clamp(0, config.times - 1)).unsqueeze(1)]
        if self.class_embed is not None:
            tokens.append(self.class_embed(classes).unsqueeze(1))
        hidden = torch.cat((*tokens, self.patch_embed(x)), dim=1) + self.pos_embed
        for block in self.blocks:
            hidden = block(hidden)
        return unpatchify(self.head(hidden[:, config.extra_tokens :]), config.rows, config.patch_size)

    def _initialise(self, blocks: Sequence[DiffusionVitBlock]) -> None:
        """Truncated normals; the last layer of branch i is divided by sqrt(2 i), and the head starts near zero."""
        initialise_vit(self)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        with torch.no_grad():
            for number, block in enumerate(blocks, 1):
                block.attention.proj.weight /= math.sqrt(2 * number)
                block.mlp.fc2.weight /= math.sqrt(2 * number)
            self.head.weight *= HEAD_SCALE


def diffusion_vit_keys(config: DiffusionVitConfig) -> KeyTable:
    """Our names against those of `guided_diffusion/vision_transformer.py`."""
    return (
        Rename(
            "pos_embed", "pos_embed", change=Reshape((config.tokens, config.width), (1, config.tokens, config.width))
        ),
        Rename("patch_embed.proj.{rest}", "patch_embed.proj.{rest}"),
        Rename("time_embed.weight", "time_embedding.weight"),
        *((Rename("class_embed.weight", "class_embedding.weight"),) if config.classes else ()),
        Rename("blocks.{i}.attention.{rest}", "blocks.{i}.attn.{rest}"),
        *(
            Rename(f"blocks.{{i}}.{part}.{{rest}}", f"blocks.{{i}}.{part}.{{rest}}")
            for part in ("norm1", "norm2", "mlp")
        ),
        Rename("head.{rest}", "linear_projection.{rest}"),
    )
