"""The Stable Diffusion autoencoder: pictures to a small grid of latents and back.

Source: Rombach et al., arXiv:2112.10752, section 3.1 and appendix G; sizes from the published configuration.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.layers import Downsample, PixelAttention, ResnetBlock, Upsample


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderKlConfig:
    """Size of an autoencoder.

    Args:
        picture_channels: Channels of a picture.
        latent_channels: Channels of a latent.
        channels: Channels at each resolution, from fine to coarse; each further entry halves the resolution.
        blocks_per_stage: Residual blocks at each resolution of the encoder; the decoder has one more.
        groups: Groups of the normalisations.
        scale: Factor that brings latents to about unit variance for a diffusion model.
        middle_attention: Whether the coarsest resolution attends over all positions.
    """

    picture_channels: int = 3
    latent_channels: int = 4
    channels: tuple[int, ...] = (128, 256, 512, 512)
    blocks_per_stage: int = 2
    groups: int = 32
    scale: float = 0.18215
    middle_attention: bool = True

    @property
    def factor(self) -> int:
        """Pixels of a picture for each latent, along a side."""
        return 2 ** (len(self.channels) - 1)


@dataclass(frozen=True, slots=True)
class DiagonalGaussian:
    """A normal distribution of latents with independent components.

    Args:
        mean: `(batch, channels, height, width)`.
        log_variance: The same shape, within [-30, 20].
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + noise * (0.5 * self.log_variance).exp()

    def kl(self) -> Tensor:
        """Divergence from the standard normal in nats, `(batch,)`."""
        terms = self.mean.square() + self.log_variance.exp() - 1.0 - self.log_variance
        return 0.5 * terms.flatten(1).sum(1)


class Middle(nn.Module):
    """Two residual blocks with attention between them, at the coarsest resolution."""

    def __init__(self, channels: int, groups: int, *, attention: bool) -> None:
        super().__init__()
        self.block1 = ResnetBlock(channels, channels, groups=groups)
        self.attention = PixelAttention(channels, groups=groups) if attention else nn.Identity()
        self.block2 = ResnetBlock(channels, channels, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to the same shape."""
        return self.block2(self.attention(self.block1(x)))


class EncoderStage(nn.Module):
    """Residual blocks at one resolution, then a downsampling except after the last."""

    def __init__(self, channels_in: int, channels_out: int, blocks: int, groups: int, *, last: bool) -> None:
        super().__init__()
        sizes = [channels_in, *[channels_out] * blocks]
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.blocks = nn.ModuleList(ResnetBlock(a, b, groups=groups) for a, b in pairs)
        self.down = nn.Identity() if last else Downsample(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels_in, height, width)` to `channels_out` at half the resolution."""
        for block in self.blocks:
            x = block(x)
        return self.down(x)


class DecoderStage(nn.Module):
    """Residual blocks at one resolution, then an upsampling except after the last."""

    def __init__(self, channels_in: int, channels_out: int, blocks: int, groups: int, *, last: bool) -> None:
        super().__init__()
        sizes = [channels_in, *[channels_out] * blocks]
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.blocks = nn.ModuleList(ResnetBlock(a, b, groups=groups) for a, b in pairs)
        self.up = nn.Identity() if last else Upsample(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels_in, height, width)` to `channels_out` at twice the resolution."""
        for block in self.blocks:
            x = block(x)
        return self.up(x)


class Encoder(nn.Module):
    """Pictures to twice the latent channels: means and log-variances before the last 1x1 convolution."""

    def __init__(self, config: AutoencoderKlConfig) -> None:
        super().__init__()
        sizes = config.channels
        self.conv_in = nn.Conv2d(config.picture_channels, sizes[0], 3, padding=1)
        self.stages = nn.ModuleList(
            EncoderStage(sizes[max(i - 1, 0)], size, config.blocks_per_stage, config.groups, last=i == len(sizes) - 1)
            for i, size in enumerate(sizes)
        )
        self.middle = Middle(sizes[-1], config.groups, attention=config.middle_attention)
        self.norm_out = nn.GroupNorm(config.groups, sizes[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(sizes[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to `(batch, 2 * latent_channels, height / factor, width / factor)`."""
        x = self.conv_in(picture)
        for stage in self.stages:
            x = stage(x)
        return self.conv_out(F.silu(self.norm_out(self.middle(x))))


class Decoder(nn.Module):
    """Latents to pictures."""

    def __init__(self, config: AutoencoderKlConfig) -> None:
        super().__init__()
        sizes = config.channels[::-1]
        self.conv_in = nn.Conv2d(config.latent_channels, sizes[0], 3, padding=1)
        self.middle = Middle(sizes[0], config.groups, attention=config.middle_attention)
        self.stages = nn.ModuleList(
            DecoderStage(
                sizes[max(i - 1, 0)], size, config.blocks_per_stage + 1, config.groups, last=i == len(sizes) - 1
            )
            for i, size in enumerate(sizes)
        )
        self.norm_out = nn.GroupNorm(config.groups, sizes[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(sizes[-1], config.picture_channels, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        """`(batch, latent_channels, height, width)` to `(batch, channels, height * factor, width * factor)`."""
        x = self.middle(self.conv_in(latent))
        for stage in self.stages:
            x = stage(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class AutoencoderKl(nn.Module):
    """The variational autoencoder of latent diffusion.

    `encode` and `decode` work in the autoencoder's own units; `to_latents` and `from_latents` include the scale with
    which diffusion models see them.
    """

    def __init__(self, config: AutoencoderKlConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.to_moments = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.from_latent = nn.Conv2d(config.latent_channels, config.latent_channels, 1)
        self.decoder = Decoder(config)

    def encode(self, picture: Tensor) -> DiagonalGaussian:
        """Pictures `(batch, channels, height, width)` in [-1, 1] to a distribution of latents.

        Raises:
            ValueError: If height or width is no multiple of the factor.
        """
        if any(side % self.config.factor for side in picture.shape[-2:]):
            sides = "x".join(map(str, picture.shape[-2:]))
            raise ValueError(f"a {sides} picture does not fit an autoencoder of factor {self.config.factor}")
        mean, log_variance = self.to_moments(self.encoder(picture)).chunk(2, dim=1)
        return DiagonalGaussian(mean, log_variance.clamp(-30.0, 20.0))

    def decode(self, latent: Tensor) -> Tensor:
        """Latents to pictures, about within [-1, 1]."""
        return self.decoder(self.from_latent(latent))

    def to_latents(self, picture: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Scaled latents of pictures: a draw with `generator`, the mean without."""
        gaussian = self.encode(picture)
        latent = gaussian.mean if generator is None else gaussian.sample(generator)
        return latent * self.config.scale

    def from_latents(self, latent: Tensor) -> Tensor:
        """Pictures of scaled latents."""
        return self.decode(latent / self.config.scale)
