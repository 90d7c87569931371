"""StyleGAN2's discriminator: residual blocks from pictures to one score, with the spread of a batch as a feature.

Source: arXiv:1912.04958, section 3 and configuration F; several kinds of pictures by projection, arXiv:1802.05637.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.networks.stylegan2 import (
    GAIN,
    SMALLEST,
    EqualLinear,
    StyleGan2Config,
    bounded,
    in_rows,
    normalised,
    rectified,
)
from bottega.ops import halve_side, low_pass

_HALF = math.sqrt(0.5)
"""Gain of each of two branches that are added."""


class EqualConv(nn.Module):
    """A convolution whose weights are kept at unit variance, with a leaky rectifier or without bias and rectifier.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Side of the kernel.
        clamp: Largest magnitude of an activation.
        down: Whether the side halves, under a low-pass filter.
        activate: Whether a bias and a leaky rectifier follow.
        gain: Factor of the result.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        clamp: float | None,
        *,
        down: bool = False,
        activate: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.kernel, self.down, self.gain = kernel, down, gain
        self.clamp = None if clamp is None or not activate else clamp * gain
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if activate else None
        self.scale = 1 / math.sqrt(inputs * kernel**2)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inputs, side, side)` to `(batch, outputs, side or side / 2, ...)`."""
        if self.bias is None:
            weight = in_rows(self.weight * (self.scale * self.gain))
            return F.conv2d(halve_side(x) if self.down else x, weight)
        gain = GAIN * self.gain  # through a leaky rectifier any factor above zero passes
        weight, bias = in_rows(self.weight * (self.scale * gain)), self.bias * gain
        if self.down:
            x = F.conv2d(low_pass(x, (2, 2, 2, 2)), weight, bias, stride=2)
        else:
            x = F.conv2d(x, weight, bias, padding=self.kernel // 2)
        return bounded(rectified(x), self.clamp)


class DiscriminatorBlock(nn.Module):
    """Two convolutions to half the side, beside a shortcut."""

    def __init__(self, side: int, config: StyleGan2Config) -> None:
        super().__init__()
        inputs, outputs, clamp = config.channels(side), config.channels(side // 2), config.clamp
        self.conv = EqualConv(inputs, inputs, 3, clamp)
        self.shrink = EqualConv(inputs, outputs, 3, clamp, down=True, gain=_HALF)
        self.skip = EqualConv(inputs, outputs, 1, clamp, down=True, activate=False, gain=_HALF)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, side, side)` to `(batch, channels, side / 2, side / 2)`."""
        return self.skip(x) + self.shrink(self.conv(x))


class StyleGan2Discriminator(nn.Module):
    """Pictures to scores: the larger, the more it looks like a picture of the data."""

    def __init__(self, config: StyleGan2Config) -> None:
        super().__init__()
        self.config = config
        width = config.channels(SMALLEST)
        self.from_picture = EqualConv(config.picture_channels, config.channels(config.resolution), 1, config.clamp)
        self.blocks = nn.ModuleList(DiscriminatorBlock(side, config) for side in config.sides[:0:-1])
        self.conv = EqualConv(width + 1, width, 3, config.clamp)
        self.hidden = EqualLinear(width * SMALLEST**2, width, activate=True)
        self.score = EqualLinear(width, width if config.labels else 1)
        self.embed = EqualLinear(config.labels, width) if config.labels else None
        self.label_layers = nn.ModuleList(
            EqualLinear(width, width, rate=0.01, activate=True) for _ in range(8 if config.labels else 0)
        )

    def forward(self, pictures: Tensor, labels: Tensor | None = None) -> Tensor:
        """Scores pictures.

        Args:
            pictures: `(batch, picture_channels, resolution, resolution)`; the batch is a multiple of `std_group`, or
                smaller than it.
            labels: Kinds `(batch,)`, where there are several.

        Returns:
            `(batch,)`: log-odds.
        """
        x = self.maps(pictures)[-1]
        x = self.conv(torch.cat((x, spread_of(x, self.config.std_group)), dim=1))
        made = self.score(self.hidden(x.flatten(1)))
        if self.embed is None:
            return made[:, 0]
        if labels is None:
            raise ValueError("this discriminator knows several kinds of pictures; say which")
        wanted = normalised(self.embed(F.one_hot(labels, self.embed.weight.shape[1]).to(made)))
        for layer in self.label_layers:
            wanted = layer(wanted)
        return (made * wanted).sum(1) / math.sqrt(made.shape[1])

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """What the blocks see in pictures: feature maps from the picture's side down to 4."""
        found = [self.from_picture(pictures.contiguous(memory_format=torch.channels_last))]
        for block in self.blocks:
            found.append(block(found[-1]))
        return found


def spread_of(x: Tensor, group: int) -> Tensor:
    """The mean standard deviation of a batch's groups, `(batch, 1, side, side)`.

    Args:
        x: `(batch, channels, side, side)`.
        group: Pictures in a group: those at equal distance in the batch.
    """
    batch, _, height, width = x.shape
    size = min(group, batch)
    if batch % size:
        raise ValueError(f"a batch of {batch} cannot be cut into groups of {size}")
    groups = x.reshape(size, batch // size, *x.shape[1:]).float()
    deviation = (groups.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
    return deviation.repeat(size)[:, None, None, None].expand(batch, 1, height, width).to(x.dtype)
