"""StyleGAN2's generator: a latent becomes a style, and the style modulates every convolution of a picture's synthesis.

Per-sample weights are never formed: a convolution with weights `W * s * d` of a sample is the plain convolution between
two scalings of its activations, so that a batch is one convolution of the whole batch and drags need no gradient of
weights. Feature maps are in channels-last memory throughout.

Source: arXiv:1912.04958, section 2.2 and configuration F; conditional pictures as in arXiv:2006.06676.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.layers import FrozenConv3x3
from bottega.ops import double_side, low_pass

SLOPE = 0.2
"""Slope of the leaky rectifier left of zero."""
GAIN = math.sqrt(2.0)
"""What its output is multiplied with, so that variance is kept."""
SMALLEST = 4
"""Side of the learned constant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StyleGan2Config:
    """Size of a generator and of its discriminator.

    Args:
        resolution: Side of the pictures in pixels, a power of two of at least 8.
        latent_dim: Channels of a latent.
        style_dim: Channels of a style.
        mapping_layers: Layers from a latent to a style.
        channel_base: A feature map of side r has `channel_base / r` channels ...
        channel_max: ... but at most so many.
        labels: Kinds of pictures that a latent is drawn for; 0 where there is one only.
        picture_channels: Channels of a picture.
        clamp: Largest magnitude of an activation; None bounds nothing. Published weights were trained with 256.
        std_group: Pictures whose spread the discriminator is told.
    """

    resolution: int
    latent_dim: int = 512
    style_dim: int = 512
    mapping_layers: int = 8
    channel_base: int = 32768
    channel_max: int = 512
    labels: int = 0
    picture_channels: int = 3
    clamp: float | None = 256.0
    std_group: int = 4

    def __post_init__(self) -> None:
        if self.resolution < 2 * SMALLEST or self.resolution & (self.resolution - 1):
            raise ValueError(f"resolution is {self.resolution}, but it must be a power of two of at least 8")
        for name in ("latent_dim", "style_dim", "mapping_layers", "channel_max", "picture_channels", "std_group"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but it must be at least 1")
        if self.channel_base < self.resolution:
            raise ValueError(
                f"channel_base is {self.channel_base}, which leaves no channel at {self.resolution} pixels"
            )
        if self.labels < 0:
            raise ValueError(f"labels is {self.labels}, but it must be at least 0")

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the feature maps, from 4 to the picture's."""
        return tuple(1 << power for power in range(2, self.resolution.bit_length()))

    @property
    def styles(self) -> int:
        """Styles that a picture takes in W+: one for every convolution, one for the last colours."""
        return 2 * len(self.sides)

    def channels(self, side: int) -> int:
        """Channels of the feature map of a side."""
        return min(self.channel_base // side, self.channel_max)


class Noise(enum.Enum):
    """The pixel noise that is added to feature maps."""

    RANDOM = "random"
    """Drawn anew, as in training."""
    FIXED = "fixed"
    """The one drawn when the network was made, so that a picture is a function of its styles."""
    NONE = "none"


class EqualLinear(nn.Module):
    """A linear layer whose weights are kept at unit variance and scaled when used.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        rate: Factor of the learning rate, relative to other layers.
        bias: What the bias starts at.
        activate: Whether a leaky rectifier follows.
    """

    def __init__(
        self, inputs: int, outputs: int, *, rate: float = 1.0, bias: float = 0.0, activate: bool = False
    ) -> None:
        super().__init__()
        self.gain, self.rate, self.activate = rate / math.sqrt(inputs), rate, activate
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inputs)` to `(batch, outputs)`."""
        bias = self.bias if self.rate == 1.0 else self.bias * self.rate
        made = F.linear(x, self.weight * self.gain, bias)
        return rectified(made) * GAIN if self.activate else made


class Mapping(nn.Module):
    """Latents to styles; keeps the running mean of styles, towards which they are truncated."""

    mean_style: Tensor

    def __init__(self, config: StyleGan2Config) -> None:
        super().__init__()
        width = config.style_dim
        self.embed = EqualLinear(config.labels, width) if config.labels else None
        widths = [config.latent_dim + (width if config.labels else 0), *[width] * config.mapping_layers]
        self.layers = nn.ModuleList(
            EqualLinear(before, after, rate=0.01, activate=True)
            for before, after in zip(widths[:-1], widths[1:], strict=True)
        )
        self.register_buffer("mean_style", torch.zeros(width))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Maps latents.

        Args:
            latents: `(batch, latent_dim)`, standard normal.
            labels: Kinds `(batch,)`; None where there is one only.

        Returns:
            Styles `(batch, style_dim)`.
        """
        x = normalised(latents)
        if self.embed is not None:
            if labels is None:
                raise ValueError("this generator draws several kinds of pictures; say which")
            chosen = F.one_hot(labels, self.embed.weight.shape[1]).to(x)
            x = torch.cat((x, normalised(self.embed(chosen))), dim=1)
        for layer in self.layers:
            x = layer(x)
        return x

    def truncated(self, styles: Tensor, psi: float) -> Tensor:
        """Styles at the share `psi` of their way from the mean: 1 leaves them, 0 is the mean."""
        return self.mean_style.lerp(styles, psi)

    @torch.no_grad()
    def follow(self, styles: Tensor, decay: float = 0.995) -> None:
        """Moves the mean towards a batch's."""
        self.mean_style.lerp_(styles.detach().float().mean(0), 1 - decay)


class StyledConv(nn.Module):
    """A 3x3 convolution modulated by a style, normalised by it, with noise, bias and a leaky rectifier.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        side: Side of the result.
        config: Of the generator.
        up: Whether the side doubles.
    """

    noise: Tensor

    def __init__(self, inputs: int, outputs: int, side: int, config: StyleGan2Config, *, up: bool = False) -> None:
        super().__init__()
        self.up, self.clamp = up, config.clamp
        self.affine = EqualLinear(config.style_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.register_buffer("noise", torch.randn(side, side))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.kept: tuple[FrozenConv3x3, Tensor] | None = None
        self.kept_from = (0, 0)

    def forward(self, x: Tensor, style: Tensor, noise: Noise) -> Tensor:
        """Runs the layer.

        Args:
            x: `(batch, inputs, side, side)`, or of half that side before a layer that doubles it.
            style: `(batch, style_dim)`.
            noise: Which noise.

        Returns:
            `(batch, outputs, side, side)`.
        """
        frozen = self._frozen()
        conv, energy = (self._plain, self._energy()) if frozen is None else frozen
        scale = self.affine(style)
        undo = (scale.square() @ energy + 1e-8).rsqrt() * GAIN
        x = conv(x * scale[:, :, None, None])
        if self.up:
            x = low_pass(x, (1, 1, 1, 1), gain=4.0)
        return bounded(rectified(torch.addcmul(self._shift(x, noise), x, undo[:, :, None, None])), self.clamp)

    def train(self, mode: bool = True) -> StyledConv:
        """Training forgets what is kept: fused optimizers change weights without a trace."""
        self.kept = None
        return super().train(mode)

    def _frozen(self) -> tuple[FrozenConv3x3, Tensor] | None:
        """The convolution and the energies while the weights stay; None where they may change."""
        weight = self.weight
        changes = self.training or weight.is_inference() or (torch.is_grad_enabled() and weight.requires_grad)
        if changes or torch.compiler.is_compiling():
            return None
        source = (weight.data_ptr(), weight._version)
        if self.kept is None or self.kept_from != source:
            with torch.no_grad():
                side = self.noise.shape[0] // (2 if self.up else 1)
                kernel = weight.transpose(0, 1) if self.up else weight
                self.kept = FrozenConv3x3(kernel, double=self.up, side=side), self._energy()
                self.kept_from = source
        return self.kept

    def _plain(self, x: Tensor) -> Tensor:
        """The convolution by weights that are learned."""
        if self.up:
            return F.conv_transpose2d(x, in_rows(self.weight.transpose(0, 1)), stride=2)
        return F.conv2d(x, in_rows(self.weight), padding=1)

    def _energy(self) -> Tensor:
        """Sums of the kernel's squares, `(inputs, outputs)`."""
        return self.weight.square().sum((2, 3)).T

    def _shift(self, x: Tensor, noise: Noise) -> Tensor:
        """Bias and noise with the rectifier's gain, `(batch or 1, outputs, side or 1, side or 1)`."""
        bias = (self.bias * GAIN).to(x.dtype)
        if noise is Noise.NONE:
            return bias[None, :, None, None]
        drawn = self.noise[None] if noise is Noise.FIXED else torch.randn_like(x[:, 0])
        return torch.addcmul(bias, drawn[..., None], self.noise_strength * GAIN).permute(0, 3, 1, 2)  # channels last

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "kept": None}  # a copy prepares for itself


class ToPicture(nn.Module):
    """A 1x1 convolution to colours, modulated by a style without normalisation."""

    def __init__(self, inputs: int, config: StyleGan2Config) -> None:
        super().__init__()
        self.gain, self.clamp = 1 / math.sqrt(inputs), config.clamp
        self.affine = EqualLinear(config.style_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(config.picture_channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(config.picture_channels))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """`(batch, inputs, side, side)` and styles to `(batch, picture_channels, side, side)`."""
        scale = self.affine(style) * self.gain
        weights = self.weight[None, :, :, 0, 0] * scale[:, None]  # (batch, colours, inputs): tiny
        made = torch.einsum("bchw,boc->bohw", x, weights) + self.bias[:, None, None]
        return bounded(made, self.clamp)


class SynthesisBlock(nn.Module):
    """The feature map of one side, and the picture at that side so far."""

    def __init__(self, side: int, config: StyleGan2Config) -> None:
        super().__init__()
        outputs = config.channels(side)
        if side == SMALLEST:
            self.const = nn.Parameter(torch.randn(outputs, side, side))
            self.up = None
        else:
            self.up = StyledConv(config.channels(side // 2), outputs, side, config, up=True)
        self.conv = StyledConv(outputs, outputs, side, config)
        self.to_picture = ToPicture(outputs, config)

    def forward(self, x: Tensor | None, picture: Tensor | None, styles: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Feature map and picture of half the side (None for the first) to those of this side.

        Args:
            x: `(batch, channels, side / 2, side / 2)`.
            picture: `(batch, picture_channels, side / 2, side / 2)`.
            styles: Those of its convolutions and of its colours, `(batch, 3, style_dim)`, or 2 for the first.
            noise: Which noise.
        """
        if self.up is None or x is None:
            start = self.const.expand(len(styles), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        else:
            start = self.up(x, styles[:, 0], noise)
        features: Tensor = self.conv(start, styles[:, -2], noise)
        colours: Tensor = self.to_picture(features, styles[:, -1])
        return features, colours if picture is None else double_side(picture) + colours


class Synthesis(nn.Module):
    """Styles to pictures, in one go or up to a side and on from there."""

    def __init__(self, config: StyleGan2Config) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(SynthesisBlock(side, config) for side in config.sides)

    def forward(self, styles: Tensor, noise: Noise = Noise.FIXED) -> Tensor:
        """Makes pictures.

        Args:
            styles: `(batch, style_dim)` in W, or `(batch, config.styles, style_dim)` in W+.
            noise: Which noise is added.

        Returns:
            `(batch, picture_channels, resolution, resolution)`, about -1 to 1.
        """
        return self.run(styles, noise=noise)[1]

    def run(
        self,
        styles: Tensor,
        *,
        after: tuple[Tensor, Tensor] | None = None,
        until: int | None = None,
        noise: Noise = Noise.FIXED,
    ) -> tuple[Tensor, Tensor]:
        """Runs some of the blocks.

        Args:
            styles: As `forward`.
            after: What another call returned: goes on from there. None starts.
            until: Side at which to stop; None goes to the end.
            noise: Which noise is added.

        Returns:
            The last block's feature map `(batch, channels, side, side)`, and the picture at that side so far.
        """
        wide = styles.float()
        if wide.ndim == 2:
            wide = wide[:, None].expand(-1, self.config.styles, -1)
        x, picture = (None, None) if after is None else after
        first = 0 if x is None else 2 * x.shape[-1]
        for number, (side, block) in enumerate(zip(self.config.sides, self.blocks, strict=True)):
            if side >= first and side <= (until or side):
                x, picture = block(x, picture, wide[:, max(2 * number - 1, 0) : 2 * number + 2], noise)
        if x is None or picture is None:
            raise ValueError(f"until is {until}, but the first feature map has side {SMALLEST}")
        return x, picture


class StyleGan2Generator(nn.Module):
    """Latents to pictures: `mapping`, then `synthesis`."""

    def __init__(self, config: StyleGan2Config) -> None:
        super().__init__()
        self.config = config
        self.mapping = Mapping(config)
        self.synthesis = Synthesis(config)

    def forward(
        self, latents: Tensor, labels: Tensor | None = None, *, psi: float = 1.0, noise: Noise = Noise.FIXED
    ) -> Tensor:
        """Draws pictures.

        Args:
            latents: `(batch, latent_dim)`, standard normal.
            labels: Kinds `(batch,)`, where there are several.
            psi: Truncation, 0 to 1: smaller is nearer to the mean.
            noise: Which noise is added.

        Returns:
            `(batch, picture_channels, resolution, resolution)`, about -1 to 1.
        """
        styles = self.mapping(latents, labels)
        return self.synthesis(styles if psi == 1.0 else self.mapping.truncated(styles, psi), noise)


def normalised(x: Tensor) -> Tensor:
    """Rows `(batch, channels)` at a mean square of 1."""
    x = x.float()
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def rectified(x: Tensor) -> Tensor:
    """The leaky rectifier; overwrites x where nothing is differentiated."""
    return F.leaky_relu(x, SLOPE, inplace=not (torch.is_grad_enabled() and x.requires_grad))


def bounded(x: Tensor, clamp: float | None) -> Tensor:
    """Activations within `clamp` of zero; overwrites x where nothing is differentiated."""
    if clamp is None:
        return x
    return x.clamp(-clamp, clamp) if torch.is_grad_enabled() and x.requires_grad else x.clamp_(-clamp, clamp)


def in_rows(kernel: Tensor) -> Tensor:
    """A kernel in channels-last memory, which convolutions on channels-last pictures want."""
    return kernel.contiguous(memory_format=torch.channels_last)
