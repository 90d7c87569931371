"""The modules of MDT and MDTv2. Source: arXiv:2303.14389, sections 3.2 to 3.4."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from bottega.layers import PatchEmbed, unpatchify
from bottega.networks import (
    AutoencoderKl,
    Dit,
    DitBlock,
    DitConfig,
    DitHead,
    TimeAndClass,
    initialise_dit,
    position_waves,
)
from bottega.systems.diffusion.mdt.config import MacroDesign, MaskedDesign, MdtConfig, PlainDesign


class Masking(NamedTuple):
    """Which tokens a training pass sees.

    Args:
        kept: Positions of the visible tokens, `(batch, visible)`.
        restore: Where each position's token stands among the visible ones and, after them, the hidden ones,
            `(batch, tokens)`.
    """

    kept: Tensor
    restore: Tensor

    @classmethod
    def draw(cls, batch: int, tokens: int, ratio: float, generator: torch.Generator) -> Masking:
        """Hides a share of every sample's tokens at random; the visible share is rounded down."""
        order = torch.rand(batch, tokens, generator=generator, device=generator.device).argsort(dim=1)
        return cls(order[:, : int(tokens * (1 - ratio))], order.argsort(dim=1))

    @property
    def hidden(self) -> Tensor:
        """Bool `(batch, tokens)`: true where a token is hidden."""
        return self.restore >= self.kept.shape[1]


class RelativePositions(nn.Module):
    """What a block adds to its attention scores: a number for each offset between two patches, and each head.

    Args:
        rows: Rows of patches.
        num_heads: Attention heads.
    """

    places: Tensor

    def __init__(self, rows: int, num_heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty((2 * rows - 1) ** 2 + 3, num_heads))  # the last 3 are BEiT's, unused
        nn.init.trunc_normal_(self.table, std=0.02)
        row, column = torch.arange(rows**2) // rows, torch.arange(rows**2) % rows
        down, right = row[:, None] - row, column[:, None] - column
        self.register_buffer("places", (down + rows - 1) * (2 * rows - 1) + right + rows - 1)

    def forward(self, kept: Tensor | None = None) -> Tensor:
        """The bias `(heads, tokens, tokens)`, or of the visible tokens alone `(batch, heads, visible, visible)`."""
        places = self.places if kept is None else self.places[kept.unsqueeze(2), kept.unsqueeze(1)]
        return embedding(places, self.table).movedim(-1, -3)


class MdtBlock(nn.Module):
    """A DiT block with relative positions, and in MDTv2 with a shortcut that is joined before it.

    Args:
        config: Size of the transformer.
        shortcut: Whether there is a shortcut.
    """

    def __init__(self, config: DitConfig, *, shortcut: bool = False) -> None:
        super().__init__()
        width, heads = config.width, config.num_heads
        self.join = nn.Linear(2 * width, width) if shortcut else None
        self.positions = RelativePositions(config.rows, heads)
        self.block = DitBlock(width, heads, mlp_ratio=config.mlp_ratio, mlp_eps=config.mlp_eps)

    def forward(self, x: Tensor, hint: Tensor, kept: Tensor | None = None, shortcut: Tensor | None = None) -> Tensor:
        """Tokens `(batch, tokens, width)` to the same shape; `kept` are their positions where some are hidden."""
        if self.join is not None and shortcut is not None:
            x = self.join(torch.cat((x, shortcut), dim=-1))
        return self.block(x, hint, self.positions(kept).to(x.dtype))


class SideInterpolater(nn.Module):
    """Puts a token for every hidden one and predicts it from the visible ones, which pass unchanged."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.empty(config.width))
        nn.init.normal_(self.mask_token, std=0.02)
        self.block = MdtBlock(config)

    def forward(self, x: Tensor, hint: Tensor, masking: Masking, positions: Tensor) -> Tensor:
        """Visible tokens `(batch, visible, width)` to all tokens in their places, with the decoder's positions."""
        batch, tokens = masking.restore.shape
        empty = self.mask_token.to(x.dtype).expand(batch, tokens - x.shape[1], -1)
        order = masking.restore.unsqueeze(-1).expand(-1, -1, x.shape[2])
        before = torch.cat((x, empty), dim=1).gather(1, order) + positions
        return torch.where(masking.hidden.unsqueeze(-1), self.block(before, hint), before)


class Mdt(nn.Module):
    """MDT and MDTv2: noisy latents, their time and their class to the noise and the variance's place."""

    def __init__(self, config: DitConfig, design: MaskedDesign | MacroDesign) -> None:
        super().__init__()
        self.config, self.design = config, design
        encoder, macro = config.depth - design.decode_layers, isinstance(design, MacroDesign)
        shallow = encoder // 2 if macro else encoder
        self.patch_embed = PatchEmbed(config.channels, config.width, config.patch_size)
        self.told = TimeAndClass(config)
        self.pos_embed = nn.Parameter(torch.empty(config.patches, config.width))
        self.shallow = _blocks(config, shallow)
        self.deep = _blocks(config, encoder - shallow, shortcut=True)
        self.decoder_pos_embed = nn.Parameter(torch.empty(config.patches, config.width))
        self.interpolater = SideInterpolater(config)
        self.decoder = _blocks(config, design.decode_layers, shortcut=macro)
        self.head = DitHead(config.width, config.patch_size**2 * config.outputs)
        initialise_dit(self)
        with torch.no_grad():
            for positions in (self.pos_embed, self.decoder_pos_embed):
                positions.copy_(position_waves(config.rows, config.width))

    def forward(self, x: Tensor, time: Tensor, label: Tensor, masking: Masking | None = None) -> Tensor:
        """Predicts the noise and, after it in the channels, where the variance lies in its range.

        Args:
            x: Noisy latents `(batch, channels, size, size)`.
            time: Steps `(batch,)`, 0 to 999.
            label: Class ids `(batch,)`; the number of classes stands for any class.
            masking: In training, which tokens the encoder sees; None shows all, and the interpolater has no part.

        Returns:
            `(batch, 2 * channels, size, size)`.
        """
        hint = self.told(time, label)
        whole = self.patch_embed(x) + self.pos_embed
        tokens, kept = whole, None
        if masking is not None:
            kept = masking.kept
            tokens = whole.gather(1, kept.unsqueeze(-1).expand(-1, -1, whole.shape[2]))
        tokens = self._encode(tokens, hint, kept)
        if masking is None:
            tokens = tokens + self.decoder_pos_embed
        else:
            tokens = self.interpolater(tokens, hint, masking, self.decoder_pos_embed)
        for block in self.decoder:
            tokens = block(tokens, hint, shortcut=whole)
        return unpatchify(self.head(tokens, hint), self.config.rows, self.config.patch_size)

    def _encode(self, tokens: Tensor, hint: Tensor, kept: Tensor | None) -> Tensor:
        seen = []
        for block in self.shallow:
            tokens = block(tokens, hint, kept)
            seen.append(tokens)
        for block in self.deep:
            tokens = block(tokens, hint, kept, seen.pop())
        return tokens


class MdtPipeline(nn.Module):
    """The network with the autoencoder whose latents it denoises, where there is one."""

    def __init__(self, config: MdtConfig) -> None:
        super().__init__()
        self.config = config
        self.network = Dit(config.trunk) if isinstance(config.design, PlainDesign) else Mdt(config.trunk, config.design)
        self.autoencoder = None if config.autoencoder is None else AutoencoderKl(config.autoencoder)

    def to_signal(self, pictures: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Pictures `(batch, 3, height, width)` in [-1, 1] to what is denoised; latents are drawn with a generator."""
        return pictures if self.autoencoder is None else self.autoencoder.to_latents(pictures, generator)

    def to_pictures(self, signal: Tensor) -> Tensor:
        """The inverse of `to_signal`."""
        return signal if self.autoencoder is None else self.autoencoder.from_latents(signal)


def masked_tokens(tokens: int, ratio: float) -> int:
    """How many tokens a share hides."""
    return tokens - math.floor(tokens * (1 - ratio))


def _blocks(config: DitConfig, count: int, *, shortcut: bool = False) -> nn.ModuleList:
    return nn.ModuleList(MdtBlock(config, shortcut=shortcut) for _ in range(count))
