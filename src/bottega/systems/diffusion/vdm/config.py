"""Sizes of variational diffusion models, published and for the emoji world."""

from __future__ import annotations

from dataclasses import dataclass

from bottega.processes.diffusion import PlainBound, SigmoidBound
from bottega.room import Preset


@dataclass(frozen=True, kw_only=True, slots=True)
class VdmConfig:
    """A noise predictor without change of resolution, and its schedule.

    Args:
        size: Side of a picture in pixels.
        width: Channels of every layer.
        depth: Residual blocks on the way in; on the way out there is one more.
        attention: Whether every block is followed by attention, as in the paper's augmented CIFAR-10 run; the middle
            always has one.
        groups: Groups of the normalisations.
        fourier: Powers of two whose waves of the state are fed to the network beside it.
        dropout: Share of activations that training drops.
        gamma_low: -log SNR at the clean end, at first.
        gamma_high: -log SNR at the noisy end, at first.
        schedule_features: Hidden units of the schedule's network; 0 is a straight schedule whose ends are learned.
        weight: How much each noise level counts in training.
    """

    size: int = 32
    width: int = 128
    depth: int = 32
    attention: bool = False
    groups: int = 32
    fourier: tuple[int, ...] = (6, 7)
    dropout: float = 0.1
    gamma_low: float = -13.3
    gamma_high: float = 5.0
    schedule_features: int = 0
    weight: PlainBound | SigmoidBound = PlainBound()

    def __post_init__(self) -> None:
        if min(self.size, self.width, self.depth) < 1 or self.width % self.groups or self.width % 2:
            raise ValueError(f"width {self.width} must be even and a multiple of groups {self.groups}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, but it must be in [0, 1)")

    @property
    def dims(self) -> int:
        """Numbers of a picture."""
        return 3 * self.size**2


_SOURCE = "the layers of the authors' `model_vdm.py` counted by hand at"
_NET = 1024
TINY = VdmConfig(size=16, width=32, depth=3, groups=8, dropout=0.0, schedule_features=_NET)

PRESETS = {
    "cifar10": Preset(config=VdmConfig(), parameters=30_578_181, source=f"{_SOURCE} configs/cifar10.py"),
    "cifar10-augmented": Preset(
        config=VdmConfig(width=256, dropout=0.05, attention=True, schedule_features=_NET),
        parameters=139_279_878,
        source=f"{_SOURCE} configs/cifar10_aug_paper.py",
    ),
    "imagenet32": Preset(
        config=VdmConfig(width=256), parameters=122_137_605, source=f"{_SOURCE} configs/imagenet32.py"
    ),
    "imagenet64": Preset(
        config=VdmConfig(size=64, width=256, depth=64),
        parameters=237_603_845,
        source=f"{_SOURCE} configs/imagenet64.py",
    ),
    "tiny": Preset(config=TINY, parameters=283_430, source="for the emoji world at 16 pixels"),
}
"""Sizes by name."""
