"""The score networks of NCSN and NCSNv2: a RefineNet over a dilated ResNet, with InstanceNorm++.

Source: arXiv:1907.05600 appendix A; arXiv:2006.09011 appendix B.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bottega.systems.diffusion.ncsn.config import NcsnConfig, Stage

_SPREAD = 0.02


class InstanceNormPlus(nn.Module):
    """Instance normalisation that gives each channel's mean, normalised over the channels, back by a learned share.

    Args:
        channels: Channels.
        levels: Noise levels with a scale, share and offset of their own; None for one of each.

    Source: arXiv:1907.05600 appendix A.1.
    """

    def __init__(self, channels: int, levels: int | None) -> None:
        super().__init__()
        rows = () if levels is None else (levels,)
        self.scale = nn.Parameter(torch.empty(*rows, channels))
        self.share = nn.Parameter(torch.empty(*rows, channels))
        self.offset = nn.Parameter(torch.empty(*rows, channels))
        for weight in (self.scale, self.share):
            nn.init.normal_(weight, 1.0, _SPREAD)
        nn.init.zeros_(self.offset)

    def forward(self, x: Tensor, level: Tensor | None) -> Tensor:
        """Normalises `(batch, channels, height, width)`; `level` holds the noise levels' numbers, `(batch,)`."""
        scale, share, offset = self.scale, self.share, self.offset
        if level is not None:
            scale, share, offset = scale[level], share[level], offset[level]
        variance, mean = torch.var_mean(x, dim=(2, 3), correction=0)
        spread, centre = torch.var_mean(mean, dim=1, keepdim=True)
        gain = scale * torch.rsqrt(variance + 1e-5)
        lift = scale * share * (mean - centre) * torch.rsqrt(spread + 1e-5) + offset - gain * mean
        return torch.addcmul(lift[..., None, None], gain[..., None, None], x)


class ResidualBlock(nn.Module):
    """Twice norm, ELU and a 3x3 convolution, beside a shortcut."""

    def __init__(self, before: int, after: int, stage: Stage, levels: int | None, *, first: bool) -> None:
        super().__init__()
        self.halves = stage.halve and first
        spread = stage.dilation
        middle = before if first else after
        self.norm1 = InstanceNormPlus(before, levels)
        self.conv1 = nn.Conv2d(before, middle, 3, padding=spread, dilation=spread)
        self.norm2 = InstanceNormPlus(middle, levels)
        self.conv2 = nn.Conv2d(middle, after, 3, padding=spread, dilation=spread)
        self.shortcut: nn.Module = nn.Identity()
        if first and (self.halves or spread > 1):
            size, gap = (1, 0) if self.halves else (3, spread)
            self.shortcut = nn.Conv2d(before, after, size, padding=gap, dilation=spread)

    def forward(self, x: Tensor, level: Tensor | None) -> Tensor:
        """The block's output; its first block of a stage may halve the sides."""
        hidden = self.conv1(functional.elu(self.norm1(x, level)))
        hidden = self.conv2(functional.elu(self.norm2(hidden, level)))
        if self.halves:
            return functional.avg_pool2d(hidden, 2) + self.shortcut(functional.avg_pool2d(x, 2))
        return hidden + self.shortcut(x)


class ResidualConvUnits(nn.Module):
    """Residual pairs of (norm,) ELU and 3x3 convolution."""

    def __init__(self, channels: int, pairs: int, levels: int | None) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2 * pairs))
        self.norms = _norms([channels] * (2 * pairs), levels)

    def forward(self, x: Tensor, level: Tensor | None) -> Tensor:
        """States of x's shape."""
        for first in range(0, len(self.convs), 2):
            hidden = x
            for i in (first, first + 1):
                hidden = self.convs[i](functional.elu(_normed(self.norms, i, hidden, level)))
            x = x + hidden
        return x


class ChainedPooling(nn.Module):
    """Two rounds of (norm,) 5x5 pooling and 3x3 convolution, each added to what came before."""

    def __init__(self, channels: int, levels: int | None) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.norms = _norms([channels] * 2, levels)

    def forward(self, x: Tensor, level: Tensor | None) -> Tensor:
        """States of x's shape. Where there are norms it takes means, else maxima."""
        x = path = functional.elu(x)
        pool = functional.max_pool2d if self.norms is None else functional.avg_pool2d
        for i, conv in enumerate(self.convs):
            path = conv(pool(_normed(self.norms, i, path, level), 5, 1, 2))
            x = x + path
        return x


class RefineBlock(nn.Module):
    """A stage's states joined with those that came up from the coarser stage.

    Args:
        inputs: Channels of each input.
        channels: Channels of the output.
        pairs: Residual pairs at the end.
        levels: As in `InstanceNormPlus`, for blocks with norms; None for those without.
    """

    def __init__(self, inputs: tuple[int, ...], channels: int, pairs: int, levels: int | None) -> None:
        super().__init__()
        self.adapt = nn.ModuleList(ResidualConvUnits(size, 2, levels) for size in inputs)
        joins = inputs if len(inputs) > 1 else ()
        self.join = nn.ModuleList(nn.Conv2d(size, channels, 3, padding=1) for size in joins)
        self.join_norms = _norms(list(joins), levels)
        self.pooling = ChainedPooling(channels, levels)
        self.output = ResidualConvUnits(channels, pairs, levels)

    def forward(self, states: list[Tensor], level: Tensor | None) -> Tensor:
        """The joined states, of the first input's size."""
        states = [adapt(state, level) for adapt, state in zip(self.adapt, states, strict=True)]
        shape = states[0].shape[2:]
        joined = states[0]
        if len(self.join):
            wide = [conv(_normed(self.join_norms, i, states[i], level)) for i, conv in enumerate(self.join)]
            joined = wide[0] + _resized(wide[1], shape)
        return self.output(self.pooling(joined, level), level)


class RefineNet(nn.Module):
    """A dilated ResNet downwards and a RefineNet upwards.

    Args:
        config: Its size.
    """

    def __init__(self, config: NcsnConfig) -> None:
        super().__init__()
        levels = config.levels.count if config.conditional else None
        sizes = [config.width * stage.widen for stage in config.stages]
        self.conv_in = nn.Conv2d(config.channels, config.width, 3, padding=1)
        before = [config.width, *sizes[:-1]]
        self.blocks = nn.ModuleList()
        for number, (size_in, size, stage) in enumerate(zip(before, sizes, config.stages, strict=True)):
            self.blocks.append(ResidualBlock(size_in, size, stage, levels, first=number > 0))
            self.blocks.append(ResidualBlock(size, size, stage, levels, first=False))
        blocks, coarser = [], 0
        for number in reversed(range(len(sizes))):
            inputs = (sizes[number], coarser) if coarser else (sizes[number],)
            coarser = sizes[max(number - 1, 0)]
            blocks.append(RefineBlock(inputs, coarser, 3 if number == 0 else 1, levels))
        self.refine = nn.ModuleList(blocks)
        self.norm_out = InstanceNormPlus(config.width, levels)
        self.conv_out = nn.Conv2d(config.width, config.channels, 3, padding=1)

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """Pictures `(batch, channels, height, width)` in [-1, 1] (and noise) to states of the same shape.

        Args:
            x: The pictures.
            level: Numbers of the noise levels, `(batch,)`, for conditional norms.
        """
        hidden, passed = self.conv_in(x), []
        for first, second in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            hidden = second(first(hidden, level), level)
            passed.append(hidden)
        hidden = self.refine[0]([passed.pop()], level)
        for block in self.refine[1:]:
            hidden = block([passed.pop(), hidden], level)
        return self.conv_out(functional.elu(self.norm_out(hidden, level)))


class Ncsn(nn.Module):
    """The score of pictures in [0, 1] at one of the noise levels.

    Args:
        config: Its size.
    """

    sigmas: Tensor

    def __init__(self, config: NcsnConfig) -> None:
        super().__init__()
        self.config = config
        self.network = RefineNet(config)
        sigmas = torch.tensor(config.levels.sigmas(), dtype=torch.float32)
        self.register_buffer("sigmas", sigmas, persistent=not config.conditional)  # as in the published files

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """The score, of x's shape, at the levels with these numbers, `(batch,)`, 0 for the noisiest."""
        if self.config.conditional:
            return self.network(2.0 * x - 1.0, level)
        return self.network(2.0 * x - 1.0) / self.sigmas[level].reshape(-1, 1, 1, 1)

    def at(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The score at any noise levels `(batch,)` between the largest and the smallest.

        NCSNv2's network knows no levels, so it answers for each; NCSN's answers for the nearest that it was trained on,
        scaled by the ratio of the two.
        """
        if not self.config.conditional:
            return self.network(2.0 * x - 1.0) / sigma.reshape(-1, 1, 1, 1)
        level = (self.sigmas.log() - sigma.log()[:, None]).abs().argmin(dim=1)
        return self(x, level) * (self.sigmas[level] / sigma).reshape(-1, 1, 1, 1)


def _norms(sizes: list[int], levels: int | None) -> nn.ModuleList | None:
    return None if levels is None else nn.ModuleList(InstanceNormPlus(size, levels) for size in sizes)


def _normed(norms: nn.ModuleList | None, i: int, x: Tensor, level: Tensor | None) -> Tensor:
    return x if norms is None else norms[i](x, level)


def _resized(x: Tensor, shape: torch.Size) -> Tensor:
    if x.shape[2:] == shape:
        return x
    return functional.interpolate(x, size=shape, mode="bilinear", align_corners=True)
