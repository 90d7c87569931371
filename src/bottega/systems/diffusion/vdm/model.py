"""The modules of VDM. Source: arXiv:2107.00630 section 4.4 and appendix B."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.layers import PixelAttention
from bottega.processes.diffusion import LearnedVp, Schedule
from bottega.systems.diffusion.vdm.config import VdmConfig

EPS = 1e-6
CONDITION = 4
"""Channels of the time's vector over the width."""


class TimedBlock(nn.Module):
    """Two 3x3 convolutions with normalisation before each; the time's vector is added between them."""

    def __init__(self, channels_in: int, config: VdmConfig) -> None:
        super().__init__()
        width = config.width
        self.norm1 = nn.GroupNorm(config.groups, channels_in, eps=EPS)
        self.conv1 = nn.Conv2d(channels_in, width, 3, padding=1)
        self.time = nn.Linear(CONDITION * width, width, bias=False)
        self.norm2 = nn.GroupNorm(config.groups, width, eps=EPS)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Identity() if channels_in == width else nn.Conv2d(channels_in, width, 1)
        for parameter in (*self.time.parameters(), *self.conv2.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """`(batch, channels_in, height, width)` and `(batch, 4 width)` to `(batch, width, height, width)`."""
        y = self.conv1(F.silu(self.norm1(x))) + self.time(time)[:, :, None, None]
        return self.shortcut(x) + self.conv2(self.dropout(F.silu(self.norm2(y))))


class Stage(nn.Module):
    """A block, and attention after it where the size has it."""

    def __init__(self, channels_in: int, config: VdmConfig, *, attention: bool) -> None:
        super().__init__()
        self.block = TimedBlock(channels_in, config)
        self.attention = PixelAttention(config.width, groups=config.groups, eps=EPS) if attention else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """`(batch, channels_in, height, width)` to `(batch, width, height, width)`."""
        return self.attention(self.block(x, time))


class ScoreNet(nn.Module):
    """The noise predictor: a U-Net that never changes the resolution, told gamma and the state's finest waves."""

    def __init__(self, config: VdmConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.time1 = nn.Linear(width + 1, CONDITION * width)
        self.time2 = nn.Linear(CONDITION * width, CONDITION * width)
        self.conv_in = nn.Conv2d(3 + 6 * len(config.fourier), width, 3, padding=1)
        deep = config.attention
        self.down = nn.ModuleList(Stage(width, config, attention=deep) for _ in range(config.depth))
        self.middle = nn.ModuleList(Stage(width, config, attention=first) for first in (True, False))
        self.up = nn.ModuleList(Stage(2 * width, config, attention=deep) for _ in range(config.depth + 1))
        self.norm_out = nn.GroupNorm(config.groups, width, eps=EPS)
        self.conv_out = nn.Conv2d(width, 3, 3, padding=1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, z: Tensor, gamma: Tensor, extra: Tensor | None = None) -> Tensor:
        """The noise.

        Args:
            z: States `(batch, 3, size, size)`.
            gamma: -log SNR `(batch,)`.
            extra: One more number for each picture, `(batch,)`; the published runs give 0 (the default), or the number
                of the augmentation.

        Returns:
            The noise, of z's shape.
        """
        config = self.config
        part = (gamma - config.gamma_low) / (config.gamma_high - config.gamma_low)
        number = torch.zeros_like(part) if extra is None else extra
        time = torch.cat((waves_of_time(part, config.width), number[:, None]), dim=1).to(z.dtype)
        time = F.silu(self.time2(F.silu(self.time1(time))))
        x = self.conv_in(torch.cat((z, waves_of_state(z, config.fourier)), dim=1))
        kept = [x]
        for stage in self.down:
            x = stage(x, time)
            kept.append(x)
        for stage in self.middle:
            x = stage(x, time)
        for stage in self.up:
            x = stage(torch.cat((x, kept.pop()), dim=1), time)
        return z + self.conv_out(F.silu(self.norm_out(x)))


class Vdm(nn.Module):
    """The noise predictor and the schedule, learned together."""

    def __init__(self, config: VdmConfig) -> None:
        super().__init__()
        self.config = config
        self.network = ScoreNet(config)
        self.schedule = Schedule(config.gamma_low, config.gamma_high, features=config.schedule_features)

    @property
    def path(self) -> LearnedVp:
        """The schedule as a noise path."""
        return LearnedVp(self.schedule)


class NoiseAtTime(nn.Module):
    """A VDM that is told the time of its path: what solvers and other rooms call."""

    def __init__(self, model: Vdm) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, t: Tensor, cond: None = None) -> Tensor:
        """The noise in states `x` at times `t` of shape `(batch,)`."""
        return self.model.network(x, self.model.path.gamma(t).to(torch.float32))


def waves_of_time(part: Tensor, width: int) -> Tensor:
    """Sines, then cosines, of 1000 times a number, at frequencies 1 to 1 / 10000: `(batch, width)`."""
    half = width // 2
    falling = torch.arange(half, dtype=torch.float32, device=part.device) * (-math.log(10_000) / max(half - 1, 1))
    angles = 1000 * part.float()[:, None] * falling.exp()
    return torch.cat((angles.sin(), angles.cos()), dim=1)


def waves_of_state(z: Tensor, powers: tuple[int, ...]) -> Tensor:
    """Sines, then cosines, of 2^(n + 1) pi z for each channel and power n. Source: arXiv:2107.00630 appendix C."""
    angles = torch.cat([z[:, [c]] * (2.0**n * 2 * math.pi) for c in range(z.shape[1]) for n in powers], dim=1)
    return torch.cat((angles.sin(), angles.cos()), dim=1)
