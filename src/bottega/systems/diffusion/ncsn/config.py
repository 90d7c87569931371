"""Sizes of NCSN and NCSNv2, published and for the emoji world."""

from __future__ import annotations

from dataclasses import dataclass

from bottega.errors import RequestError
from bottega.processes.diffusion import NoiseLevels
from bottega.room import Preset


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Two residual blocks of a RefineNet's way down.

    Args:
        widen: Channels over those of the first stage.
        halve: Whether the first block halves the sides.
        dilation: Spread of the convolutions; above 1 it takes the place of halving.
    """

    widen: int
    halve: bool = False
    dilation: int = 1


USUAL = (Stage(widen=1), Stage(widen=2, halve=True), Stage(widen=2, dilation=2), Stage(widen=2, dilation=4))
"""For pictures of 28 to 64 pixels."""
DEEPER = (*USUAL[:2], Stage(widen=2, halve=True), Stage(widen=4, dilation=2), Stage(widen=4, dilation=4))
"""For 96 and 128 pixels."""
DEEPEST = (*DEEPER[:3], Stage(widen=2, halve=True), *DEEPER[3:])
"""For 256 pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NcsnConfig:
    """Size of a noise-conditional score network.

    Args:
        size: Side of the pictures in pixels.
        channels: Their channels, 1 or 3.
        width: Channels of the first stage.
        stages: The way down.
        levels: The noise levels, in units of pixels in [0, 1], and the Langevin steps.
        conditional: Whether the norms are told the level (NCSN); else its output is divided by sigma (NCSNv2).
        denoise: Whether sampling ends with a denoising step (NCSNv2).
    """

    size: int
    channels: int = 3
    width: int = 128
    stages: tuple[Stage, ...] = USUAL
    levels: NoiseLevels
    conditional: bool = False
    denoise: bool = True

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise RequestError.of("channels", self.channels, "1 or 3")
        if self.width < 2:
            raise RequestError.of("width", self.width, "at least 2", "InstanceNorm++ compares channels")
        if len(self.stages) < 2 or self.stages[0] != Stage(widen=1):
            raise RequestError.of("stages", self.stages, "at least two, the first a plain Stage(widen=1)")
        factor = 2 ** sum(stage.halve for stage in self.stages)
        if self.size < 1 or self.size % factor:
            raise RequestError.of("size", self.size, f"a multiple of {factor}")


ORIGINAL_LEVELS = NoiseLevels(first=1.0, last=0.01, count=10, step=2e-5, steps_per_level=100)


def _original(size: int, channels: int, width: int) -> NcsnConfig:
    return NcsnConfig(
        size=size, channels=channels, width=width, levels=ORIGINAL_LEVELS, conditional=True, denoise=False
    )


def _improved(size: int, stages: tuple[Stage, ...], levels: NoiseLevels) -> NcsnConfig:
    return NcsnConfig(size=size, stages=stages, levels=levels)


def _levels(first: float, count: int, step: float, steps_per_level: int) -> NoiseLevels:
    return NoiseLevels(first=first, last=0.01, count=count, step=step, steps_per_level=steps_per_level)


def _preset(config: NcsnConfig, parameters: int, source: str) -> Preset[NcsnConfig]:
    return Preset(config=config, parameters=parameters, source=source)


TINY = NcsnConfig(
    size=16,
    width=16,
    levels=NoiseLevels(first=17.5, last=0.01, count=95, step=1.27e-5, steps_per_level=3),
)

PRESETS = {
    "mnist": _preset(_original(28, 1, 64), 7_638_657, "ermongroup/ncsn configs/anneal.yml: ngf 64"),
    "cifar10": _preset(_original(32, 3, 128), 30_117_635, "ermongroup/ncsn configs/anneal.yml: ngf 128"),
    "celeba32": _preset(_original(32, 3, 128), 30_117_635, "ermongroup/ncsn configs/anneal.yml: ngf 128"),
    "v2-cifar10": _preset(
        _improved(32, USUAL, _levels(50, 232, 6.2e-6, 5)), 29_694_083, "ermongroup/ncsnv2 configs/cifar10.yml"
    ),
    "v2-celeba64": _preset(
        _improved(64, USUAL, _levels(90, 500, 3.3e-6, 5)), 29_694_083, "ermongroup/ncsnv2 configs/celeba.yml"
    ),
    "v2-church96": _preset(
        _improved(96, DEEPER, _levels(140, 788, 4.9e-6, 4)),
        83_445_379,
        "ermongroup/ncsnv2 configs/church.yml, at the 96 pixels of the paper",
    ),
    "v2-bedroom128": _preset(
        _improved(128, DEEPER, _levels(190, 1086, 1.8e-6, 3)), 83_445_379, "ermongroup/ncsnv2 configs/bedroom.yml"
    ),
    "v2-tower128": _preset(
        _improved(128, DEEPER, _levels(190, 1086, 1.8e-6, 3)), 83_445_379, "ermongroup/ncsnv2 configs/tower.yml"
    ),
    "v2-ffhq256": _preset(
        _improved(256, DEEPEST, _levels(348, 2311, 9e-7, 3)), 94_132_611, "ermongroup/ncsnv2 configs/ffhq.yml"
    ),
    "tiny": _preset(TINY, 466_451, "NCSNv2 for the emoji world at 16 pixels; levels by its own rules"),
}
"""Sizes by name."""
