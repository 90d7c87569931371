"""NCSN++ and DDPM++: the U-Nets of score-based models through SDEs.

Source: arXiv:2011.13456, section 4.1 and appendix H; sizes and initialisation from the authors' configurations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.layers import PixelAttention

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


class BlockKind(Enum):
    """Residual blocks: DDPM's, with resampling by layers of its own, or BigGAN's, which resample inside."""

    DDPM = "ddpm"
    BIGGAN = "biggan"


class Progressive(Enum):
    """How a pyramid of small pictures goes along: not at all, added by 1x1 (or 3x3) convolutions, or as residuals."""

    NONE = "none"
    SKIP = "skip"
    RESIDUAL = "residual"


class TimeEmbedding(Enum):
    """How the network is told the time: random Fourier features of log(sigma), or sinusoids of 0 to 999."""

    FOURIER = "fourier"
    POSITIONAL = "positional"


@dataclass(frozen=True, kw_only=True, slots=True)
class NcsnppConfig:
    """Size of an NCSN++ or DDPM++.

    Args:
        size: Side of a picture in pixels; each level after the first halves it.
        channels: Channels of a picture.
        width: Channels at the finest level.
        multipliers: Channels of each level, in multiples of `width`, from fine to coarse.
        blocks: Residual blocks of each level on the way down; one more on the way up.
        attention_sizes: Sides of feature maps that attend over all positions.
        block: Kind of residual block.
        fir: Resamples with the filter (1, 3, 3, 1) instead of nearest neighbours and means.
        output: Pyramid of pictures on the way up.
        input: Pyramid of pictures on the way down.
        time: How the network is told the time.
        fourier_scale: Standard deviation of the Fourier frequencies.
        rescale_skips: Divides sums of a branch and its shortcut by sqrt(2).
        divide_by_sigma: Divides the output by the noise level, so that it is a score.
        centred: Whether pictures come in [-1, 1]; else in [0, 1], with noise levels on that scale.
        dropout: Share of features left out in training.
    """

    size: int
    channels: int = 3
    width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 4
    attention_sizes: tuple[int, ...] = (16,)
    block: BlockKind = BlockKind.BIGGAN
    fir: bool = False
    output: Progressive = Progressive.NONE
    input: Progressive = Progressive.NONE
    time: TimeEmbedding = TimeEmbedding.POSITIONAL
    fourier_scale: float = 16.0
    rescale_skips: bool = True
    divide_by_sigma: bool = False
    centred: bool = True
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.width < 4 or self.width % 4:
            raise ValueError(f"width is {self.width}, but it must be a multiple of 4")
        if not self.multipliers or self.blocks < 1 or self.channels < 1:
            raise ValueError("a network needs a level, a block in each level, and a channel")
        if self.size % 2 ** (len(self.multipliers) - 1):
            raise ValueError(f"size {self.size} cannot be halved {len(self.multipliers) - 1} times")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, but it must be at least 0 and below 1")

    @property
    def sides(self) -> tuple[int, ...]:
        """Side of the feature maps at each level."""
        return tuple(self.size >> level for level in range(len(self.multipliers)))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at each level."""
        return tuple(self.width * factor for factor in self.multipliers)


class FourierFeatures(nn.Module):
    """Sines and cosines of 2 pi log(sigma) times fixed random frequencies."""

    def __init__(self, count: int, scale: float) -> None:
        super().__init__()
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.randn(count) * scale)

    def forward(self, sigma: Tensor) -> Tensor:
        """Noise levels `(b,)` to `(b, 2 * count)`."""
        angles = sigma.float().log()[:, None] * self.frequencies * (2 * math.pi)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class PositionalFeatures(nn.Module):
    """Sines, then cosines, of a time from 0 to 999, with periods of 2 pi to 20000 pi, both ends included."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, time: Tensor) -> Tensor:
        """Times `(b,)` to `(b, count)`."""
        half = self.count // 2
        places = torch.arange(half, dtype=torch.float32, device=time.device) / (half - 1)
        angles = time.float()[:, None] * torch.exp(-math.log(10_000.0) * places)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class Resampled(nn.Module):
    """A feature map at half or twice its side, with a 3x3 convolution or without.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        up: Whether the side doubles.
        fir: Filter (1, 3, 3, 1) instead of nearest neighbours, means or a strided convolution.
        conv: Whether a convolution takes part; without it the channels stay.
    """

    def __init__(self, channels_in: int, channels_out: int, *, up: bool, fir: bool, conv: bool = True) -> None:
        super().__init__()
        self.up, self.fir = up, fir
        self.conv = _conv(channels_in, channels_out) if conv else None

    def forward(self, x: Tensor) -> Tensor:
        """`(b, channels_in, side, side)` to `(b, channels_out, ...)`."""
        if self.conv is None:
            return double_side(x, fir=self.fir) if self.up else halve_side(x, fir=self.fir)
        weight, bias = self.conv.weight, self.conv.bias
        match self.up, self.fir:
            case True, True:
                spread = F.conv_transpose2d(x, weight.flip(2, 3).transpose(0, 1), stride=2)
                shift = 0.0 if bias is None else bias[:, None, None]
                return _filtered(spread, padding=1, gain=4.0) + shift
            case True, False:
                return self.conv(double_side(x, fir=False))
            case False, True:
                return F.conv2d(_filtered(x, padding=2), weight, bias, stride=2)
            case _:
                return F.conv2d(F.pad(x, (0, 1, 0, 1)), weight, bias, stride=2)


class NcsnppBlock(nn.Module):
    """Norm, SiLU, convolution, plus the time; norm, SiLU, convolution; and a shortcut around both.

    Args:
        config: The network's size.
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        change: Resampling between the first norm and the first convolution; None keeps the side.
    """

    def __init__(
        self,
        config: NcsnppConfig,
        channels_in: int,
        channels_out: int,
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.change = change
        self.rescale = math.sqrt(0.5) if config.rescale_skips else 1.0
        self.norm1 = _norm(channels_in)
        self.conv1 = _conv(channels_in, channels_out)
        self.time = _initialised(nn.Linear(4 * config.width, channels_out))
        self.norm2 = _norm(channels_out)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = _conv(channels_out, channels_out, scale=0.0)
        small = 0.1 if config.block is BlockKind.DDPM else 1.0
        needed = channels_in != channels_out or change is not None
        self.shortcut = _conv(channels_in, channels_out, 1, scale=small) if needed else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """A feature map, and SiLU of the time's embedding `(b, 4 * width)`."""
        h = F.silu(self.norm1(x))
        if self.change is not None:
            h, x = self.change(h), self.change(x)
        h = self.conv1(h) + self.time(time)[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return torch.add(self.shortcut(x), h) * self.rescale


class NcsnppAttention(nn.Module):
    """Self-attention over all positions, its sum with the shortcut rescaled like the blocks'."""

    def __init__(self, config: NcsnppConfig, channels: int) -> None:
        super().__init__()
        self.inner = PixelAttention(channels, groups=_groups(channels))
        self.rescale = math.sqrt(0.5) if config.rescale_skips else 1.0
        for part in self.inner.qkv.weight.detach().split(channels):
            nn.init.xavier_uniform_(part, gain=math.sqrt(0.1))
        nn.init.zeros_(self.inner.proj.weight)
        for bias in (self.inner.qkv.bias, self.inner.proj.bias):
            nn.init.zeros_(bias)

    def forward(self, x: Tensor) -> Tensor:
        """`(b, channels, side, side)` to the same shape."""
        return self.inner(x) * self.rescale


class DownLevel(nn.Module):
    """The blocks of one level on the way down, and, before a coarser level, what leads there."""

    def __init__(self, config: NcsnppConfig, level: int) -> None:
        super().__init__()
        before, here = config.widths[max(level - 1, 0)], config.widths[level]
        sizes = [config.width if level == 0 else before, *[here] * config.blocks]
        attends = config.sides[level] in config.attention_sizes
        self.rescale = math.sqrt(0.5) if config.rescale_skips else 1.0
        self.blocks = nn.ModuleList(NcsnppBlock(config, sizes[i], here) for i in range(config.blocks))
        self.attentions = nn.ModuleList(
            NcsnppAttention(config, here) if attends else nn.Identity() for _ in range(config.blocks)
        )
        self.last = level == len(config.widths) - 1
        self.down = None if self.last else _resampling(config, here, up=False)
        self.residual = config.input is Progressive.RESIDUAL
        self.shrink = self.combine = None
        if not self.last and self.residual:
            known = config.channels if level == 0 else before
            self.shrink = Resampled(known, here, up=False, fir=config.fir)
        elif not self.last and config.input is Progressive.SKIP:
            self.shrink = Resampled(config.channels, config.channels, up=False, fir=config.fir, conv=False)
            self.combine = _conv(config.channels, here, 1)

    def forward(self, h: Tensor, time: Tensor, pyramid: Tensor, states: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The feature map and the pyramid for the next level; appends to `states` what the way up takes."""
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            h = attention(block(h, time))
            states.append(h)
        if self.down is None:
            return h, pyramid
        h = self.down(h, time) if isinstance(self.down, NcsnppBlock) else self.down(h)
        if self.shrink is not None:
            pyramid = self.shrink(pyramid)
            if self.combine is not None:
                h = self.combine(pyramid) + h
            else:
                h = pyramid = (pyramid + h) * self.rescale
        states.append(h)
        return h, pyramid


class UpLevel(nn.Module):
    """The blocks of one level on the way up, what it adds to the picture's pyramid, and what leads to a finer level."""

    def __init__(self, config: NcsnppConfig, level: int, states: list[int]) -> None:
        super().__init__()
        here, coarser = config.widths[level], config.widths[min(level + 1, len(config.widths) - 1)]
        sizes = [coarser, *[here] * config.blocks]
        self.rescale = math.sqrt(0.5) if config.rescale_skips else 1.0
        self.blocks = nn.ModuleList(NcsnppBlock(config, size + states.pop(), here) for size in sizes)
        attends = config.sides[level] in config.attention_sizes
        self.attention = NcsnppAttention(config, here) if attends else nn.Identity()
        coarsest = level == len(config.widths) - 1
        self.grow = self.norm = self.to_picture = None
        if config.output is Progressive.SKIP:
            self.grow = None if coarsest else _pyramid_up(config, config.channels, config.channels, conv=False)
            self.norm, self.to_picture = _norm(here), _conv(here, config.channels, scale=0.0)
        elif config.output is Progressive.RESIDUAL and coarsest:
            self.norm, self.to_picture = _norm(here), _conv(here, here)
        elif config.output is Progressive.RESIDUAL:
            self.grow = _pyramid_up(config, coarser, here, conv=True)
        self.up = _resampling(config, here, up=True) if level else None

    def forward(
        self, h: Tensor, time: Tensor, pyramid: Tensor | None, states: list[Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """The feature map and the pyramid for the next level; takes from the end of `states`."""
        for block in self.blocks:
            h = block(torch.cat([h, states.pop()], dim=1), time)
        h = self.attention(h)
        if self.grow is not None and pyramid is not None:
            pyramid = self.grow(pyramid)
        if self.norm is not None and self.to_picture is not None:
            part = self.to_picture(F.silu(self.norm(h)))
            pyramid = part if pyramid is None else pyramid + part
        elif pyramid is not None:
            h = pyramid = (pyramid + h) * self.rescale
        if self.up is not None:
            h = self.up(h, time) if isinstance(self.up, NcsnppBlock) else self.up(h)
        return h, pyramid


class Ncsnpp(nn.Module):
    """The network `(x, time) -> score or noise`, as the authors' code calls it."""

    def __init__(self, config: NcsnppConfig) -> None:
        super().__init__()
        self.config = config
        width, widths = config.width, config.widths
        fourier = config.time is TimeEmbedding.FOURIER
        self.features = FourierFeatures(width, config.fourier_scale) if fourier else PositionalFeatures(width)
        self.time1 = _initialised(nn.Linear(2 * width if fourier else width, 4 * width))
        self.time2 = _initialised(nn.Linear(4 * width, 4 * width))
        self.conv_in = _conv(config.channels, width)
        self.down = nn.ModuleList(DownLevel(config, level) for level in range(len(widths)))
        self.middle1 = NcsnppBlock(config, widths[-1], widths[-1])
        self.middle_attention = NcsnppAttention(config, widths[-1])
        self.middle2 = NcsnppBlock(config, widths[-1], widths[-1])
        states = [width]
        for level, channels in enumerate(widths):
            states += [channels] * (config.blocks + (level < len(widths) - 1))
        self.up = nn.ModuleList(UpLevel(config, level, states) for level in reversed(range(len(widths))))
        self.norm_out = self.conv_out = None
        if config.output is not Progressive.SKIP:
            self.norm_out, self.conv_out = _norm(widths[0]), _conv(widths[0], config.channels, scale=0.0)

    def forward(self, x: Tensor, time: Tensor, sigma: Tensor | None = None) -> Tensor:
        """The output for noisy pictures.

        Args:
            x: `(b, channels, size, size)`.
            time: `(b,)`: noise levels for Fourier features, 0 to 999 for positional ones.
            sigma: Noise levels `(b,)` to divide by, where they are not the time.

        Returns:
            Of x's shape: the score where `divide_by_sigma`, else the noise.
        """
        embedded = F.silu(self.time2(F.silu(self.time1(self.features(time).to(x.dtype)))))
        pyramid = x if self.config.centred else 2.0 * x - 1.0
        h = self.conv_in(pyramid)
        states = [h]
        for level in self.down:
            h, pyramid = level(h, embedded, pyramid, states)
        h = self.middle2(self.middle_attention(self.middle1(h, embedded)), embedded)
        picture: Tensor | None = None
        for level in self.up:
            h, picture = level(h, embedded, picture, states)
        if self.norm_out is not None and self.conv_out is not None:
            picture = self.conv_out(F.silu(self.norm_out(h)))
        if picture is None:
            raise RuntimeError("a network without a last convolution has a pyramid")
        if not self.config.divide_by_sigma:
            return picture
        return picture / (time if sigma is None else sigma).to(picture).reshape(-1, 1, 1, 1)


def halve_side(x: Tensor, *, fir: bool) -> Tensor:
    """A feature map at half its side: filtered, or means of 2x2."""
    return _filtered(x, padding=1, stride=2) if fir else F.avg_pool2d(x, 2)


def double_side(x: Tensor, *, fir: bool) -> Tensor:
    """A feature map at twice its side: filtered between zeros, or each value four times."""
    if not fir:
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    channels = x.shape[1]
    return F.conv_transpose2d(x, 4.0 * _kernel(x).expand(channels, 1, 4, 4), stride=2, padding=1, groups=channels)


def _kernel(x: Tensor) -> Tensor:
    """The filter (1, 3, 3, 1) in both directions, `(4, 4)`, of sum 1."""
    line = torch.tensor((0.125, 0.375, 0.375, 0.125), dtype=x.dtype, device=x.device)
    return line[:, None] * line


def _filtered(x: Tensor, *, padding: int, stride: int = 1, gain: float = 1.0) -> Tensor:
    channels = x.shape[1]
    return F.conv2d(x, gain * _kernel(x).expand(channels, 1, 4, 4), stride=stride, padding=padding, groups=channels)


def _groups(channels: int) -> int:
    """A quarter of the channels, at most 32; fewer where these do not divide the channels."""
    most = min(channels // 4, 32)
    return next(count for count in range(most, 0, -1) if channels % count == 0)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_groups(channels), channels, eps=1e-6)


def _conv(channels_in: int, channels_out: int, kernel: int = 3, *, scale: float = 1.0) -> nn.Conv2d:
    conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)
    return _initialised(conv, scale)


def _initialised(layer: Layer, scale: float = 1.0) -> Layer:
    nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(scale))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _resampling(config: NcsnppConfig, channels: int, *, up: bool) -> NcsnppBlock | Resampled:
    """What leads to the next level: a block that resamples inside, or a layer of its own."""
    if config.block is BlockKind.DDPM:
        return Resampled(channels, channels, up=up, fir=config.fir)
    change = double_side if up else halve_side
    return NcsnppBlock(config, channels, channels, partial(change, fir=config.fir))


def _pyramid_up(config: NcsnppConfig, channels_in: int, channels_out: int, *, conv: bool) -> Resampled:
    return Resampled(channels_in, channels_out, up=True, fir=config.fir, conv=conv)
