"""The modules of the posterior room: a prior over scans, its supervised rival, and a reader of noisy pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.errors import WeightsError
from bottega.networks import Ncsnpp, NcsnppConfig
from bottega.processes.diffusion import X0, Edm, EdmPreconditioned, Prior, Radon, Score, VeGeometric
from bottega.systems.diffusion.posterior.config import (
    PosteriorConfig,
    PreconditionedNoise,
    ReaderConfig,
    ScanConfig,
    ScoreNoise,
)

RARE = -4.5
"""Logit of a word before training: a name holds about three of the words."""

LABELS = 999.0
"""The largest time label of a network with positional features."""


class FoldedNetwork(nn.Module):
    """An NCSN++ on pictures whose blocks of pixels are channels, told EDM's log(sigma) / 4 as a label of 0 to 999."""

    def __init__(self, config: NcsnppConfig, fold: int, noise: PreconditionedNoise) -> None:
        super().__init__()
        self.fold = fold
        self.network = Ncsnpp(config)
        self.low = math.log(noise.sigma_min)
        self.span = math.log(noise.sigma_max) - self.low

    def forward(self, x: Tensor, c_noise: Tensor, cond: None = None) -> Tensor:
        """Scaled pictures `(b, 1, size, size)` and log(sigma) / 4 `(b,)` to the raw output."""
        label = LABELS * ((4 * c_noise - self.low) / self.span).clamp(0, 1)
        return F.pixel_shuffle(self.network(F.pixel_unshuffle(x, self.fold), label), self.fold)


class ScoreNetwork(nn.Module):
    """An NCSN++ of the paper, told the noise level of a time of the variance-exploding SDE."""

    def __init__(self, config: NcsnppConfig, path: VeGeometric) -> None:
        super().__init__()
        self.path = path
        self.network = Ncsnpp(config)

    def forward(self, x: Tensor, t: Tensor, cond: None = None) -> Tensor:
        """Noisy pictures and times `(b,)` to the score."""
        return self.network(x, self.path.sigma(t.double()).to(t.dtype))


class ScanPrior(nn.Module):
    """A diffusion model of scans: densities in [0, 1], `(b, 1, size, size)`."""

    def __init__(self, config: ScanConfig) -> None:
        super().__init__()
        self.config = config
        match config.noise:
            case ScoreNoise(sigma_max=high, sigma_min=low):
                self.path: VeGeometric | Edm = VeGeometric(sigma_min=low, sigma_max=high)
                self.prediction: Score | X0 = Score()
                self.network: nn.Module = ScoreNetwork(config.network, self.path)
            case PreconditionedNoise(sigma_data=data, sigma_max=high, sigma_min=low) as noise:
                self.path, self.prediction = Edm(sigma_min=low, sigma_max=high), X0()
                self.network = EdmPreconditioned(FoldedNetwork(config.network, config.fold, noise), data)

    @property
    def slope(self) -> float:
        """A state is slope times the density plus `offset`."""
        return 1.0 if isinstance(self.config.noise, ScoreNoise) else 2.0

    @property
    def offset(self) -> float:
        """The state of density 0."""
        return 0.0 if isinstance(self.config.noise, ScoreNoise) else -1.0

    def to_states(self, density: Tensor) -> Tensor:
        """Densities in [0, 1] to states."""
        return self.slope * density + self.offset

    def to_density(self, states: Tensor) -> Tensor:
        """States to densities, kept in [0, 1]."""
        return ((states - self.offset) / self.slope).clamp(0, 1)

    def prior(self) -> Prior:
        """The model as every solver and likelihood sees it; pictures are grey."""
        size = self.config.size
        return Prior(
            network=self.network,
            path=self.path,
            prediction=self.prediction,
            shape=(1, size, size),
            to_pictures=lambda states: (2 * self.to_density(states) - 1).expand(-1, 3, -1, -1),
            from_pictures=lambda pictures: self.to_states((pictures.mean(1, keepdim=True) + 1) / 2),
            size=size,
        )


class Rival(nn.Module):
    """A supervised U-Net: the filtered back-projection of one kind of measurement to the density behind it."""

    def __init__(self, config: ScanConfig, projections: int) -> None:
        super().__init__()
        self.fold, self.operator = config.fold, Radon.even(config.size, projections)
        self.network = Ncsnpp(config.network)

    def forward(self, back_projection: Tensor) -> Tensor:
        """Densities `(b, 1, size, size)` to better ones."""
        folded = F.pixel_unshuffle(2 * back_projection - 1, self.fold)
        label = torch.zeros(len(folded), device=folded.device)
        return back_projection + F.pixel_shuffle(self.network(folded, label), self.fold)


class ReaderBlock(nn.Module):
    """A residual block that is told the noise."""

    def __init__(self, channels_in: int, channels: int, told: int, *, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.norm1 = nn.GroupNorm(channels_in // 4, channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.affine = nn.Linear(told, 2 * channels)
        self.norm2 = nn.GroupNorm(channels // 4, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Identity() if channels_in == channels else nn.Conv2d(channels_in, channels, 1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """`(b, channels_in, h, w)` to `(b, channels, h, w)`, or half the sides."""
        if self.halve:
            x = F.avg_pool2d(x, 2)
        y = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.affine(told)[:, :, None, None].chunk(2, dim=1)
        y = self.conv2(F.silu(self.norm2(y) * (1 + scale) + shift))
        return y + self.shortcut(x)


class Reader(nn.Module):
    """p(group | noisy picture) and p(word in the name | noisy picture), at any noise level of any path."""

    def __init__(self, config: ReaderConfig) -> None:
        super().__init__()
        self.config = config
        widths, told = config.widths, 4 * config.widths[0]
        self.noise1, self.noise2 = nn.Linear(2 * config.widths[0], told), nn.Linear(told, told)
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        before = (widths[0], *widths[:-1])
        self.blocks = nn.ModuleList(
            ReaderBlock(a, b, told, halve=level > 0) for level, (a, b) in enumerate(zip(before, widths, strict=True))
        )
        self.norm = nn.GroupNorm(widths[-1] // 4, widths[-1])
        self.groups = nn.Linear(2 * widths[-1], config.groups)
        self.words = nn.Linear(2 * widths[-1], config.words)
        nn.init.constant_(self.words.bias, RARE)

    def forward(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of groups `(b, groups)` and of words `(b, words)`.

        Args:
            x_t: States alpha x + sigma noise of pictures x in [-1, 1], `(b, 3, size, size)`.
            alpha: `(b,)`.
            sigma: `(b,)`.
        """
        power = (alpha**2 + sigma**2).sqrt()
        x = self.conv_in((x_t / power[:, None, None, None]).to(self.conv_in.weight.dtype))
        angle = torch.atan2(sigma, alpha).to(x.dtype)[:, None]  # 0 is clean, pi / 2 pure noise
        rates = torch.arange(1, self.config.widths[0] + 1, device=x.device, dtype=x.dtype)
        waves = torch.cat([(angle * rates).sin(), (angle * rates).cos()], dim=1)
        told = F.silu(self.noise2(F.silu(self.noise1(waves))))
        for block in self.blocks:
            x = block(x, told)
        x = F.silu(self.norm(x))
        seen = torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)
        return self.groups(seen), self.words(seen)


class Posterior(nn.Module):
    """The room: its own networks, and the prior over pictures that the catalog hands it."""

    def __init__(self, config: PosteriorConfig) -> None:
        super().__init__()
        self.config = config
        self.scans = None if config.scans is None else ScanPrior(config.scans)
        self.rival = Rival(config.scans, config.rival) if config.scans is not None and config.rival else None
        self.reader = None if config.reader is None else Reader(config.reader)
        self.parts: dict[str, Prior] = {}  # not part of the state dict

    def connect(self, parts: Mapping[str, Prior]) -> None:
        """Takes the prior over pictures."""
        self.parts = dict(parts)

    @property
    def pictures(self) -> Prior:
        """The prior over pictures.

        Raises:
            WeightsError: None was connected.
        """
        if "prior" not in self.parts:
            raise WeightsError(f"no prior over pictures is connected; load one, such as {self.config.prior}")
        return self.parts["prior"]

    def scan(self) -> ScanPrior:
        """The prior over scans.

        Raises:
            WeightsError: This size has none.
        """
        if self.scans is None:
            raise WeightsError("this size has no prior over scans; load tiny for the tasks ct and mri, or train it")
        return self.scans

    def read(self) -> Reader:
        """The reader.

        Raises:
            WeightsError: This size has none.
        """
        if self.reader is None:
            raise WeightsError(
                "this size has no reader of pictures; load tiny for the tasks classifier and words, or train it"
            )
        return self.reader
