"""Sizes of Simplified DSB, published and bundled."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bottega.networks import AdmUnetConfig, AutoencoderKlConfig, DiffusionVitConfig
from bottega.processes.bridge import Gammas, Move
from bottega.room import Preset
from bottega.worlds.planar import Planar

TONES = ("light", "medium-light", "medium", "medium-dark", "dark")


@dataclass(frozen=True, kw_only=True, slots=True)
class ResMlpConfig:
    """The network of points: linear layers with a shortcut, told the step by adaptive normalisation.

    Args:
        dims: Numbers of a point.
        width: Hidden channels.
        layers: Linear layers in all, at least 2.
        steps: Rows of the table of steps.
    """

    dims: int = 2
    width: int = 128
    layers: int = 5
    steps: int = 16

    def __post_init__(self) -> None:
        if min(self.dims, self.width, self.steps) < 1 or self.layers < 2:
            raise ValueError(f"layers is {self.layers}, but it must be at least 2, and the rest at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class PointsEnd:
    """Points of the plane.

    Args:
        kind: Their distribution.
    """

    kind: Planar


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseEnd:
    """Standard normal noise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToneEnd:
    """Emoji of one person with one skin tone.

    Args:
        tone: The skin tone.
    """

    tone: str

    def __post_init__(self) -> None:
        if self.tone not in TONES:
            raise ValueError(f"tone is {self.tone!r}, but it must be one of {', '.join(TONES)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderEnd:
    """Pictures of the user's own; what they were in the published run.

    Args:
        what: A word or two.
    """

    what: str


End = PointsEnd | NoiseEnd | ToneEnd | FolderEnd


@dataclass(frozen=True, kw_only=True, slots=True)
class SdsbConfig:
    """A bridge: the network of either direction, its two ends, and the noise between them.

    Args:
        network: The network; both directions have one each.
        first: One end; the published runs call it the prior.
        second: The other end, the data.
        steps: Steps from end to end.
        gamma_low: Half the variance of the noise of the first and last step.
        gamma_high: That of the middle steps.
        move: What the networks say.
        simplified: Whether the simplified target is used; DSB's own is possible for `Move.STATE`.
        autoencoder: Pictures to latents; None works on pixels.
    """

    network: ResMlpConfig | DiffusionVitConfig | AdmUnetConfig
    first: End
    second: End
    steps: int = 16
    gamma_low: float = 1e-4
    gamma_high: float = 1e-3
    move: Move = Move.FLOW
    simplified: bool = True
    autoencoder: AutoencoderKlConfig | None = None

    def __post_init__(self) -> None:
        if not self.simplified and self.move is not Move.STATE:
            raise ValueError(f"DSB's own target says the next state, not the {self.move.value}")
        rows = {ResMlpConfig: "steps", DiffusionVitConfig: "times"}.get(type(self.network))
        if rows is not None and getattr(self.network, rows) < self.steps:
            raise ValueError(f"{self.steps} steps do not fit the network's table of {getattr(self.network, rows)}")
        if self.points != isinstance(self.network, ResMlpConfig):
            raise ValueError("points need the network of points, and only they")
        _ = self.gammas

    @property
    def gammas(self) -> Gammas:
        """Half the variance of each step's noise."""
        return Gammas.linear(self.steps, self.gamma_low, self.gamma_high)

    @property
    def points(self) -> bool:
        """Whether the ends are points of the plane."""
        return isinstance(self.second, PointsEnd)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a state."""
        match self.network:
            case ResMlpConfig(dims=dims):
                return (dims,)
            case DiffusionVitConfig(channels=channels, size=size) | AdmUnetConfig(channels_in=channels, size=size):
                return (channels, size, size)

    @property
    def picture_size(self) -> int:
        """Side of a picture in pixels; of points, 1."""
        return self.shape[-1] * (1 if self.autoencoder is None else self.autoencoder.factor) if not self.points else 1


def _adm(size: int, channels: int) -> AdmUnetConfig:
    return AdmUnetConfig(
        size=size, channels_in=channels, channels_out=channels, width=96, multipliers=(1, 2, 2, 2), blocks=4,
        attention_sizes=(8, 4), dropout=0.1,
    )  # fmt: skip


UVIT_B = DiffusionVitConfig(size=64, channels=3, patch_size=4, width=512, depth=13, num_heads=8)
"""What the authors call U-ViT-B: the plain transformer of Min-SNR without classes."""

POINTS = SdsbConfig(
    network=ResMlpConfig(), first=PointsEnd(kind=Planar.PINWHEEL), second=PointsEnd(kind=Planar.CHECKERBOARD)
)
AFHQ = SdsbConfig(
    network=_adm(32, 4), first=FolderEnd(what="dogs"), second=FolderEnd(what="cats"), steps=100, gamma_low=1e-3,
    gamma_high=1e-2, move=Move.TERMINAL, autoencoder=AutoencoderKlConfig(),
)  # fmt: skip
CELEBA = SdsbConfig(
    network=UVIT_B, first=NoiseEnd(), second=FolderEnd(what="faces"), steps=100, gamma_low=1e-5, gamma_high=1e-4,
    move=Move.TERMINAL,
)  # fmt: skip
TINY = replace(POINTS, first=PointsEnd(kind=Planar.MOONS))
TONE = SdsbConfig(
    network=DiffusionVitConfig(size=16, channels=3, patch_size=4, width=96, depth=4, num_heads=3, times=16),
    first=ToneEnd(tone="light"),
    second=ToneEnd(tone="dark"),
)


def _preset(config: SdsbConfig, parameters: int, source: str) -> Preset[SdsbConfig]:
    return Preset(config=config, parameters=parameters, source=source)


_POINTS = "2 ResMLP(2, 2, 128, 5) of the authors' `util/model.py`"
PRESETS = {
    "points-dsb": _preset(replace(POINTS, move=Move.STATE, simplified=False), 310_788, f"{_POINTS}; the original DSB"),
    "points-simplified": _preset(replace(POINTS, move=Move.STATE), 310_788, f"{_POINTS}; simplified DSB"),
    "points-terminal": _preset(replace(POINTS, move=Move.TERMINAL), 310_788, f"{_POINTS}; TR-DSB"),
    "points-flow": _preset(POINTS, 310_788, f"{_POINTS}; FR-DSB"),
    "afhq256": _preset(
        AFHQ, 162_466_031, "2 ADM U-Nets of the authors' `util/model.py`, and Stable Diffusion's autoencoder"
    ),
    "afhq512": _preset(
        replace(AFHQ, network=_adm(64, 4)), 159_791_087, "the same; attention only where a side is 8 or 4"
    ),
    "celeba64": _preset(CELEBA, 86_407_264, "2 U-ViT-B of the authors' `util/model.py`"),
    "tiny-tones": _preset(TONE, 919_008, "for emoji of two skin tones at 16 pixels"),
    "tiny": _preset(TINY, 310_788, f"{_POINTS}; FR-DSB between moons and a checkerboard"),
}
"""Sizes by name; sources are the commands of the authors' README."""
