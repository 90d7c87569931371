"""EVA's vision transformers: plain blocks with biases on queries and values, at up to 4.4 billion parameters.

Source: Fang et al., "EVA", arXiv:2211.07636, section 2; Sun et al., "EVA-CLIP", arXiv:2303.15389, table 2; Fang et al.,
"EVA-02", arXiv:2303.11331, section 2.1; sizes from the published configurations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.layers import (
    DropPath,
    Mlp,
    PatchEmbed,
    RotaryLayout,
    Turns,
    attend,
    merge_heads,
    split_heads,
)

ROTARY_BASE = 10_000.0


class EvaBlocks(Enum):
    """What a block is made of."""

    PRE = "pre"
    """EVA-01: x + f(norm(x)), a GELU MLP."""
    POST = "post"
    """EVA-02-E: x + norm(f(x)), a GELU MLP."""
    ROTARY = "rotary"
    """EVA-02 B and L: as PRE, with rotary positions, a norm after attention, and a SwiGLU with a norm inside."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaConfig:
    """Size of an EVA transformer; the defaults are EVA-01-g's.

    Args:
        size: Side of a picture in pixels.
        patch_size: Side of a patch in pixels.
        width: Channels of a token.
        depth: Blocks.
        num_heads: Attention heads.
        hidden: Channels inside an MLP.
        blocks: What a block is made of.
        key_bias: Whether keys have a bias as well, as in EVA-L; it changes no output.
        rotary_side: Patches a side that the rotary angles are spread over, whatever the picture's size.
        drop_path: Share of samples that skip a branch of the last block in training; it grows linearly from 0 at the
            first. EVA-g pre-training 0.1, EVA-CLIP g 0.4.
        eps: Epsilon of the normalisations.
        init_std: Deviation of the initial weights.
    """

    size: int = 224
    patch_size: int = 14
    width: int = 1408
    depth: int = 40
    num_heads: int = 16
    hidden: int = 6144
    blocks: EvaBlocks = EvaBlocks.PRE
    key_bias: bool = False
    rotary_side: int = 16
    drop_path: float = 0.0
    eps: float = 1e-6
    init_std: float = 0.02

    def __post_init__(self) -> None:
        if self.size % self.patch_size:
            raise ValueError(f"size {self.size} must be a multiple of patch_size {self.patch_size}")
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} must be a multiple of num_heads {self.num_heads}")
        if self.blocks is EvaBlocks.ROTARY and self.width // self.num_heads % 4:
            raise ValueError(f"heads of {self.width // self.num_heads} channels cannot turn along two axes")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path {self.drop_path} must be in [0, 1)")

    @property
    def side(self) -> int:
        """Patches along a side of the picture."""
        return self.size // self.patch_size

    @property
    def patches(self) -> int:
        """Patches of a picture."""
        return self.side**2


EVA_SIZES = {
    "g-14": EvaConfig(init_std=0.015),
    "L-14": EvaConfig(width=1024, depth=24, hidden=4096, key_bias=True),
    "02-L-14": EvaConfig(width=1024, depth=24, hidden=2730, blocks=EvaBlocks.ROTARY),
    "02-E-14": EvaConfig(width=1792, depth=64, hidden=15360, blocks=EvaBlocks.POST),
}
"""The published sizes at 224 pixels: 1,011 M, 303 M, 304 M and 4,349 M parameters without a head."""


class EvaAttention(nn.Module):
    """Multi-head attention whose queries and values have a bias."""

    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(config.width))
        self.v_bias = nn.Parameter(torch.zeros(config.width))
        self.k_bias = nn.Parameter(torch.zeros(config.width)) if config.key_bias else None
        normed = config.blocks is EvaBlocks.ROTARY
        self.norm = nn.LayerNorm(config.width, eps=config.eps) if normed else nn.Identity()
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, turns: Turns | None) -> Tensor:
        """Tokens `(batch, tokens, width)` to the same shape; `turns` rotates queries and keys."""
        k_bias = torch.zeros_like(self.q_bias) if self.k_bias is None else self.k_bias
        fused = F.linear(x, self.qkv.weight, torch.cat((self.q_bias, k_bias, self.v_bias)))
        q, k, v = (split_heads(part, self.num_heads) for part in fused.chunk(3, dim=-1))
        if turns is not None:
            q, k = turns.rotate(q).to(v.dtype), turns.rotate(k).to(v.dtype)
        return self.proj(self.norm(merge_heads(attend(q, k, v))))


class EvaGatedMlp(nn.Module):
    """SwiGLU with biases and a norm before the last product.

    Source: arXiv:2303.11331, section 2.1.
    """

    def __init__(self, width: int, hidden: int, eps: float) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * hidden)
        self.norm = nn.LayerNorm(hidden, eps=eps)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """`(..., width)` to `(..., width)`."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.fc2(self.norm(F.silu(gate) * up))


class EvaBlock(nn.Module):
    """One block, of any of the three kinds.

    Args:
        config: The transformer's size.
        drop_path: Share of samples that skip each branch in training.
    """

    def __init__(self, config: EvaConfig, drop_path: float) -> None:
        super().__init__()
        self.post = config.blocks is EvaBlocks.POST
        self.drop_path = DropPath(drop_path)
        self.norm1 = nn.LayerNorm(config.width, eps=config.eps)
        self.attention = EvaAttention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=config.eps)
        gated = config.blocks is EvaBlocks.ROTARY
        self.mlp = EvaGatedMlp(config.width, config.hidden, config.eps) if gated else Mlp(config.width, config.hidden)

    def forward(self, x: Tensor, turns: Turns | None) -> Tensor:
        """Tokens `(batch, tokens, width)` to the same shape."""
        if self.post:
            x = x + self.drop_path(self.norm1(self.attention(x, turns)))
            return x + self.drop_path(self.norm2(self.mlp(x)))
        x = x + self.drop_path(self.attention(self.norm1(x), turns))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Eva(nn.Module):
    """The transformer without a head."""

    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(3, config.width, config.patch_size)
        self.class_token = nn.Parameter(torch.empty(config.width))
        self.pos_embed = nn.Parameter(torch.empty(1 + config.patches, config.width))
        rates = [config.drop_path * layer / max(config.depth - 1, 1) for layer in range(config.depth)]
        self.blocks = nn.ModuleList(EvaBlock(config, rate) for rate in rates)
        self.norm_out = nn.LayerNorm(config.width, eps=config.eps)
        initialise_eva(self)

    def forward(
        self, picture: Tensor, *, hidden: tuple[Tensor, Tensor] | None = None, kept: Tensor | None = None
    ) -> Tensor:
        """Pictures to normalised tokens, the class token first.

        Args:
            picture: `(batch, 3, size, size)`.
            hidden: Which patches are replaced, bool `(batch, patches)`, and by what token, `(width,)`. They keep their
                place and position, so that there are as many tokens as before.
            kept: Numbers of the patches that are read, int64 `(batch, kept)`; the others are left out. None reads all.

        Returns:
            `(batch, 1 + patches, width)`, or `(batch, 1 + kept, width)` in the order of `kept`.

        Raises:
            ValueError: If a picture has another size than the positions were learned for.
        """
        x = self.embed(picture, hidden=hidden, kept=kept)
        turns = self.turns(x.device, kept) if self.config.blocks is EvaBlocks.ROTARY else None
        for block in self.blocks:
            x = block(x, turns)
        return self.norm_out(x)

    def embed(self, picture: Tensor, *, hidden: tuple[Tensor, Tensor] | None, kept: Tensor | None) -> Tensor:
        """Pictures to the tokens that go into the first block; arguments and errors as in `forward`."""
        if picture.shape[-2:] != (self.config.size, self.config.size):
            sides = "x".join(map(str, picture.shape[-2:]))
            raise ValueError(f"a {sides} picture does not fit a transformer for {self.config.size} pixels; resize it")
        patches = self.patch_embed(picture)
        if hidden is not None:
            which, token = hidden
            patches = torch.where(which[..., None], token.to(patches.dtype), patches)
        patches = patches + self.pos_embed[1:]
        if kept is not None:
            patches = patches.take_along_dim(kept[..., None], dim=1)
        first = (self.class_token + self.pos_embed[0]).expand(len(patches), 1, -1)
        return torch.cat((first, patches), dim=1)

    def turns(self, device: torch.device, kept: Tensor | None) -> Turns:
        """Rotary turns, half of a head's channels by the row and half by the column; the class token stays.

        Returns:
            Of `(1 + patches, head_dim / 2)`, or `(batch, 1, 1 + kept, head_dim / 2)`.

        Source: arXiv:2303.11331, section 2.1; as published, angles of a larger grid are those of `rotary_side`.
        """
        config = self.config
        half = config.width // config.num_heads // 2
        rates = ROTARY_BASE ** -(torch.arange(0, half, 2, dtype=torch.float32, device=device) / half)
        places = torch.arange(config.side, dtype=torch.float32, device=device) / config.side * config.rotary_side
        angles = places[:, None] * rates
        rows = angles[:, None].expand(-1, config.side, -1)
        grid = torch.cat((rows, rows.transpose(0, 1)), dim=-1).flatten(0, 1)
        if kept is not None:
            grid = grid[kept]
        grid = F.pad(grid, (0, 0, 1, 0))  # the class token's angle is 0
        grid = grid if kept is None else grid[:, None]
        return Turns(grid.cos(), grid.sin(), RotaryLayout.PAIRS)


@torch.no_grad()
def initialise_eva(tower: Eva) -> None:
    """Normal weights; what leads back into the stream of tokens starts smaller from block to block.

    Source: BEiT, arXiv:2106.08254, section 2.5: block l's two last products are divided by sqrt(2 l).
    """
    std = tower.config.init_std
    for part in tower.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(part.weight, std=std, a=-std, b=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for vector in (tower.class_token, tower.pos_embed):
        nn.init.trunc_normal_(vector, std=std, a=-std, b=std)
    for number in range(1, tower.config.depth + 1):
        for last in ("attention.proj", "mlp.fc2"):
            tower.get_parameter(f"blocks.{number - 1}.{last}.weight").div_(math.sqrt(2.0 * number))
