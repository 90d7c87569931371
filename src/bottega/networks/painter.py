"""The vision transformer of Painter and SegGPT: it completes the second of two painted pictures from an example.

Example and query are stacked into one picture, and so are their targets; the unknown part of the target is masked and
the network paints it. Pictures and targets pass the first blocks as two streams, which are then averaged.

Source: Wang et al., "Images Speak in Images", arXiv:2212.02499, section 3; type tokens and the feature ensemble from
Wang et al., "SegGPT", arXiv:2304.03284, section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from bottega.layers import ChannelNorm, DropPath, GridAttention, Mlp, PatchEmbed

EPS = 1e-6


class TargetKind(IntEnum):
    """What a target shows; the number is the row of SegGPT's type tokens."""

    SEMANTIC = 0
    """Every thing of a class has the class's colour."""
    INSTANCE = 1
    """One thing has a colour."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PainterConfig:
    """Size of the network.

    Args:
        size: Side of a picture in pixels; the network sees two of them, one above the other.
        patch_size: Side of a patch in pixels; divides `size`.
        width: Channels of a token.
        depth: Blocks.
        num_heads: Attention heads; divides `width`.
        mlp_ratio: Hidden channels of the MLPs as a multiple of `width`.
        merge_index: The block after which pictures and targets are averaged, from 0.
        taps: The blocks, from 0, whose tokens the decoder reads; in order, the first not before `merge_index`.
        decoder_width: Channels of a pixel in the decoder.
        position_rows: Side of the square table of positions, which is interpolated to the grid of patches.
        typed: Whether tokens are told what the target shows (`TargetKind`), as in SegGPT.
        drop_path: Share of samples that skip the last block's branches while training; earlier ones less, evenly.
    """

    size: int = 448
    patch_size: int = 16
    width: int = 1024
    depth: int = 24
    num_heads: int = 16
    mlp_ratio: float = 4.0
    merge_index: int = 2
    taps: tuple[int, ...] = (5, 11, 17, 23)
    decoder_width: int = 64
    position_rows: int = 14
    typed: bool = False
    drop_path: float = 0.1

    def __post_init__(self) -> None:
        if self.size < 1 or self.patch_size < 1 or self.size % self.patch_size:
            raise ValueError(f"size {self.size} must be a multiple of patch_size {self.patch_size}")
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} must be a multiple of num_heads {self.num_heads}")
        if not self.taps or tuple(sorted(set(self.taps))) != self.taps:
            raise ValueError(f"taps are {self.taps}, but they must be in order and all different")
        if not 0 <= self.merge_index <= self.taps[0] or self.taps[-1] >= self.depth:
            raise ValueError(f"taps {self.taps} must lie from merge_index {self.merge_index} to {self.depth - 1}")
        if self.position_rows < 1 or self.decoder_width < 1:
            raise ValueError(f"position_rows {self.position_rows}, decoder_width {self.decoder_width}: at least 1 each")

    @property
    def rows(self) -> int:
        """Rows of patches of one picture; its columns are as many."""
        return self.size // self.patch_size

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches of two pictures, one above the other."""
        return 2 * self.rows, self.rows


class PainterBlock(nn.Module):
    """A pre-normalised block with attention on the grid of both pictures."""

    def __init__(self, config: PainterConfig, drop_path: float) -> None:
        super().__init__()
        width = config.width
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attention = GridAttention(width, config.num_heads, config.grid)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width, int(width * config.mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(batch, rows, columns, width)` to the same shape."""
        x = x + self.drop_path(self.attention(self.norm1(x)))
        return self._feed(x)

    def together(self, prompts: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """One query with several prompts: it attends to each of them apart, and what it gathers is averaged.

        The same as `forward` on every pair with the authors' averaging, but what the pairs share is computed once.

        Args:
            prompts: `(batch * count, rows, columns, width)`, the prompts of a query next to each other.
            query: `(batch, rows, columns, width)`.

        Returns:
            Both, in the same shapes.
        """
        rows, count = query.shape[1], len(prompts) // len(query)
        of_prompts, of_query = (self.attention.qkv(self.norm1(part)) for part in (prompts, query))
        pairs = torch.cat((of_prompts, of_query.repeat_interleave(count, dim=0)), dim=1)
        gathered = self.attention.attend(pairs)
        shared = gathered[:, rows:].unflatten(0, (-1, count)).mean(dim=1)
        prompts = prompts + self.drop_path(self.attention.proj(gathered[:, :rows]))
        query = query + self.drop_path(self.attention.proj(shared))
        return self._feed(prompts), self._feed(query)

    def _feed(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PainterDecoder(nn.Module):
    """Tokens of all taps to pixels: a linear map to a patch of pixels, and a small convolutional head."""

    def __init__(self, config: PainterConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.embed = nn.Linear(len(config.taps) * config.width, config.patch_size**2 * config.decoder_width)
        self.conv = nn.Conv2d(config.decoder_width, config.decoder_width, 3, padding=1)
        self.norm = ChannelNorm(config.decoder_width, eps=EPS)
        self.head = nn.Conv2d(config.decoder_width, 3, 1)

    def forward(self, taps: Tensor) -> Tensor:
        """`(batch, rows, columns, taps * width)` to `(batch, 3, rows * patch_size, columns * patch_size)`."""
        side = self.patch_size
        pixels = rearrange(self.embed(taps), "b r c (p q d) -> b d (r p) (c q)", p=side, q=side)
        return self.head(F.gelu(self.norm(self.conv(pixels))))


class Painter(nn.Module):
    """The network. Painter's has no type tokens, SegGPT's has."""

    def __init__(self, config: PainterConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.patch_embed = PatchEmbed(3, width, config.patch_size)
        self.mask_token = nn.Parameter(torch.empty(width))
        self.picture_token = nn.Parameter(torch.empty(width))
        self.target_token = nn.Parameter(torch.empty(width))
        self.type_tokens = nn.Parameter(torch.empty(len(TargetKind), width)) if config.typed else None
        self.positions = nn.Parameter(torch.empty(1 + config.position_rows**2, width))  # the first is a class token's
        rates = torch.linspace(0, config.drop_path, config.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(PainterBlock(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.decoder = PainterDecoder(config)
        initialise_painter(self)

    def forward(self, pictures: Tensor, targets: Tensor, masked: Tensor, kinds: Tensor | None = None) -> Tensor:
        """Paints the targets' masked patches (and, as training needs it, all others).

        Pictures of another size than `size` are painted with interpolated positions.

        Args:
            pictures: Example above query, `(batch, 3, 2 * size, size)`, normalised as the weights want it.
            targets: Their targets alike; what is masked may hold anything.
            masked: `(batch, 2 * rows, rows)` or `(1, 2 * rows, rows)`, True for patches to be painted.
            kinds: `(batch,)`, rows of `TargetKind`; None means instances where the network is typed.

        Returns:
            Targets `(batch, 3, 2 * size, size)`.
        """
        seen = self._embed(pictures) + self.picture_token
        drawn = torch.where(masked.unsqueeze(-1), self.mask_token, self._embed(targets)) + self.target_token
        place = self._positions(seen.shape[1], seen.shape[2]) + self._type(kinds)
        x = torch.cat((seen + place, drawn + place))
        taps = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number == self.config.merge_index:
                x = torch.stack(x.chunk(2)).mean(dim=0)
            if number in self.config.taps:
                taps.append(self.norm(x))
        return self.decoder(torch.cat(taps, dim=-1))

    def answer(self, prompts: Tensor, targets: Tensor, queries: Tensor, kinds: Tensor | None = None) -> Tensor:
        """Paints queries from one or more prompts each, by the feature ensemble where there are several.

        With one prompt this is the query's half of `forward`. With several it is the authors' ensemble, except that the
        first row of pixels, whose convolution reaches into a prompt, sees the prompts' mean and not the first one: so
        the order of prompts changes nothing.

        Args:
            prompts: `(batch, count, 3, size, size)`.
            targets: The prompts' targets, in the same shape.
            queries: `(batch, 3, size, size)`.
            kinds: As in `forward`.

        Returns:
            The queries' targets `(batch, 3, size, size)`.

        Source: arXiv:2304.03284, section 3.3, "feature ensemble".
        """
        count = prompts.shape[1]
        of_prompts = self._embed(prompts.flatten(0, 1)) + self.picture_token
        their_targets = self._embed(targets.flatten(0, 1)) + self.target_token
        of_queries = self._embed(queries) + self.picture_token
        unknown = (self.mask_token + self.target_token).expand_as(of_queries)
        rows = of_queries.shape[1]
        top, bottom = self._positions(2 * rows, rows).split(rows)
        each = None if kinds is None else kinds.repeat_interleave(count) if len(kinds) > 1 else kinds
        shown = torch.cat([part + top + self._type(each) for part in (of_prompts, their_targets)])
        asked = torch.cat([part + bottom + self._type(kinds) for part in (of_queries, unknown)])
        taps = []
        for number, block in enumerate(cast("Iterable[PainterBlock]", self.blocks)):
            shown, asked = block.together(shown, asked)
            if number == self.config.merge_index:
                shown, asked = (torch.stack(part.chunk(2)).mean(dim=0) for part in (shown, asked))
            if number in self.config.taps:
                seam = self.norm(shown[:, -1:]).unflatten(0, (-1, count)).mean(dim=1)
                taps.append(torch.cat((seam, self.norm(asked)), dim=1))
        return self.decoder(torch.cat(taps, dim=-1))[:, :, self.config.patch_size :]

    def _embed(self, pictures: Tensor) -> Tensor:
        """Pictures `(batch, 3, height, width)` to tokens `(batch, rows, columns, width)`."""
        return self.patch_embed(pictures).unflatten(1, (-1, pictures.shape[-1] // self.config.patch_size))

    def _positions(self, rows: int, columns: int) -> Tensor:
        """The table of positions at the size of a grid, `(rows, columns, width)`."""
        side = self.config.position_rows
        table = self.positions[1:].unflatten(0, (side, side)).movedim(-1, 0)[None]
        wide = F.interpolate(table.float(), size=(rows, columns), mode="bicubic", align_corners=False)
        return wide[0].movedim(0, -1).to(table.dtype)

    def _type(self, kinds: Tensor | None) -> Tensor:
        """The type token of each sample, `(batch or 1, 1, 1, width)`; zero where the network has none."""
        if self.type_tokens is None:
            return self.mask_token.new_zeros(1, 1, 1, 1)
        if kinds is None:
            kinds = torch.full((1,), TargetKind.INSTANCE, device=self.type_tokens.device)
        return self.type_tokens[kinds][:, None, None]


def initialise_painter(module: nn.Module, std: float = 0.02) -> None:
    """The authors' initialisation: normal tokens and positions, truncated normal weights, zero biases and offsets."""
    for name, parameter in module.named_parameters():
        if name.endswith(("_token", "type_tokens")):
            nn.init.normal_(parameter, std=std)
        elif name == "positions":
            nn.init.trunc_normal_(parameter, std=std)
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=std)
            nn.init.zeros_(part.bias)
