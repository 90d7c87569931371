"""DiT: a vision transformer whose blocks are modulated by the time and the class (adaLN-Zero).

Source: Peebles and Xie, "Scalable Diffusion Models with Transformers", arXiv:2212.09748, sections 3.2 and 3.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from bottega.layers import Activation, Mlp, PatchEmbed, SelfAttention, unpatchify

FREQUENCIES = 128
"""Frequencies of the time's cosines and sines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DitConfig:
    """Size of a DiT.

    Args:
        size: Side of what is denoised: latents, or pixels.
        channels: Its channels.
        patch_size: Side of a patch.
        width: Channels of a token.
        depth: Blocks.
        num_heads: Attention heads.
        mlp_ratio: Hidden channels of the MLPs as a multiple of `width`.
        classes: Number of classes.
        null_class: Whether one more embedding, the last, stands for any class.
        learn_sigma: Whether the output has a second half of channels: where the variance lies in its range.
        last_frequency: The index at which the time's frequencies would reach 1 / 10000: 128 in the authors' code, 127
            in diffusers'.
        mlp_eps: Epsilon of the normalisation before the MLP: 1e-6 in the authors' code, 1e-5 in diffusers'.
    """

    size: int = 32
    channels: int = 4
    patch_size: int = 2
    width: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    classes: int = 1000
    null_class: bool = True
    learn_sigma: bool = True
    last_frequency: int = FREQUENCIES
    mlp_eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.size < 1 or self.patch_size < 1 or self.size % self.patch_size:
            raise ValueError(f"size {self.size} must be a multiple of patch_size {self.patch_size}")
        if self.width % self.num_heads or self.width % 4:
            raise ValueError(f"width {self.width} must be a multiple of num_heads {self.num_heads} and of 4")
        if self.classes < 1 or self.depth < 1:
            raise ValueError(f"classes {self.classes} and depth {self.depth} must be at least 1")

    @property
    def rows(self) -> int:
        """Rows of patches."""
        return self.size // self.patch_size

    @property
    def patches(self) -> int:
        """Patches, which are tokens."""
        return self.rows**2

    @property
    def outputs(self) -> int:
        """Channels of the output."""
        return self.channels * (2 if self.learn_sigma else 1)

    @property
    def embeddings(self) -> int:
        """Rows of the class embedding."""
        return self.classes + self.null_class


_TRUNKS = {"s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16), "xl": (1152, 28, 16)}

DIT_SIZES = {
    f"{name}-{patch}": DitConfig(width=width, depth=depth, num_heads=heads, patch_size=patch)
    for name, (width, depth, heads) in _TRUNKS.items()
    for patch in (2, 4, 8)
}
"""The published sizes, arXiv:2212.09748, table 1, for ImageNet at 256 pixels: 33, 130, 458 and 675 M at patch 2."""


class DitBlock(nn.Module):
    """A transformer block with adaLN-Zero: shift, scale and gate of both branches are linear in the hint.

    Args:
        width: Channels of the tokens and of the hint.
        num_heads: Attention heads.
        mlp_ratio: Hidden channels of the MLP as a multiple of `width`.
        mlp_eps: Epsilon of the normalisation before the MLP.
    """

    def __init__(self, width: int, num_heads: int, *, mlp_ratio: float = 4.0, mlp_eps: float = 1e-6) -> None:
        super().__init__()
        self.modulation = nn.Linear(width, 6 * width)
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attention = SelfAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=mlp_eps)
        self.mlp = Mlp(width, int(width * mlp_ratio), Activation.GELU_TANH)

    def forward(self, x: Tensor, hint: Tensor, bias: Tensor | None = None) -> Tensor:
        """Tokens `(batch, tokens, width)` to the same shape.

        Args:
            x: The tokens.
            hint: Time and class after SiLU, `(batch, width)`.
            bias: Added to the attention scores, `(heads, tokens, tokens)` or with a batch in front.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(hint).unsqueeze(1).chunk(6, dim=-1)
        x = torch.addcmul(x, gate1, self.attention(modulate(self.norm1(x), shift1, scale1), bias))
        return torch.addcmul(x, gate2, self.mlp(modulate(self.norm2(x), shift2, scale2)))


class DitHead(nn.Module):
    """Tokens to patches of the output: a modulated normalisation and a linear layer.

    Args:
        width: Channels of the tokens.
        outputs: Numbers of a patch: side times side times channels.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(width, outputs)

    def forward(self, x: Tensor, hint: Tensor) -> Tensor:
        """Tokens `(batch, tokens, width)` to `(batch, tokens, outputs)`."""
        shift, scale = self.modulation(hint).unsqueeze(1).chunk(2, dim=-1)
        return self.linear(modulate(self.norm(x), shift, scale))


class TimeAndClass(nn.Module):
    """What all blocks are told: the sum of the time's and the class's embedding, after SiLU."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        width = config.width
        self.last_frequency = config.last_frequency
        self.time = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.classes = nn.Embedding(config.embeddings, width)

    def forward(self, time: Tensor, label: Tensor) -> Tensor:
        """Times `(batch,)` in steps and class ids `(batch,)` to `(batch, width)`."""
        waves = time_waves(time, self.last_frequency).to(self.classes.weight.dtype)
        return silu(self.time(waves) + self.classes(label))


class Dit(nn.Module):
    """The transformer: noisy latents, their time and their class to the noise, and to the variance's place."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config.channels, config.width, config.patch_size)
        self.told = TimeAndClass(config)
        self.blocks = nn.ModuleList(
            DitBlock(config.width, config.num_heads, mlp_ratio=config.mlp_ratio, mlp_eps=config.mlp_eps)
            for _ in range(config.depth)
        )
        self.head = DitHead(config.width, config.patch_size**2 * config.outputs)
        initialise_dit(self)

    def forward(self, x: Tensor, time: Tensor, label: Tensor) -> Tensor:
        """Predicts the noise, and after it in the channels, with `learn_sigma`, where the variance lies in its range.

        Args:
            x: Noisy latents `(batch, channels, size, size)`.
            time: Steps `(batch,)`, 0 to 999.
            label: Class ids `(batch,)`; the number of classes stands for any class.

        Returns:
            `(batch, outputs, size, size)`.
        """
        config, hint = self.config, self.told(time, label)
        tokens = self.patch_embed(x)
        tokens = tokens + position_waves(config.rows, config.width).to(tokens)
        for block in self.blocks:
            tokens = block(tokens, hint)
        return unpatchify(self.head(tokens, hint), config.rows, config.patch_size)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """The tokens times (1 + scale) plus shift, both `(batch, 1, width)`."""
    return torch.addcmul(shift, x, scale + 1)


def time_waves(time: Tensor, last_frequency: int = FREQUENCIES) -> Tensor:
    """Times `(batch,)` to 128 cosines and 128 sines, float32 `(batch, 256)`.

    In single precision a frequency's rounding is felt at late times; so this rounds as the peers do.
    """
    index = torch.arange(FREQUENCIES, dtype=torch.float32, device=time.device)
    angles = time.float()[:, None] * torch.exp(-math.log(10_000.0) * index / last_frequency)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def position_waves(rows: int, width: int) -> Tensor:
    """Fixed positions of a square of patches: sines and cosines of the column, then of the row.

    Returns:
        float32 `(rows * rows, width)`, row by row.

    Source: arXiv:2212.09748 section 3.2, "frequency-based"; arXiv:2111.06377's two-dimensional form.
    """
    quarter = width // 4
    frequencies = torch.exp(-math.log(10_000.0) / quarter * torch.arange(quarter, dtype=torch.float64))
    angles = torch.arange(rows, dtype=torch.float64)[:, None] * frequencies
    waves = torch.cat((angles.sin(), angles.cos()), dim=1)  # (rows, width / 2)
    column, row = waves.expand(rows, -1, -1), waves[:, None].expand(-1, rows, -1)
    return torch.cat((column, row), dim=2).flatten(0, 1).float()


def initialise_dit(module: nn.Module) -> None:
    """The published initialisation of a DiT and of what is built from its parts: every block begins as identity."""
    for part in module.modules():
        match part:
            case nn.Linear() | nn.Conv2d():
                nn.init.xavier_uniform_(part.weight.flatten(1))
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
            case nn.Embedding():
                nn.init.normal_(part.weight, std=0.02)
    for part in module.modules():
        match part:
            case TimeAndClass():
                for layer in (part.time[0], part.time[2]):
                    nn.init.normal_(layer.weight, std=0.02)  # pyright: ignore[reportArgumentType]
            case DitBlock():
                nn.init.zeros_(part.modulation.weight)
            case DitHead():
                nn.init.zeros_(part.modulation.weight)
                nn.init.zeros_(part.linear.weight)
