"""Sizes of the diffusion transformer of Min-SNR, published and for the emoji world."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from bottega.networks import AutoencoderKlConfig, DiffusionVitConfig
from bottega.processes.diffusion import (
    P2,
    X0,
    Epsilon,
    EvenIn,
    InverseSnr,
    MinSnr,
    SoftMinSnr,
    TruncatedSnr,
    Uniform,
    V,
)
from bottega.room import Preset

AnyWeighting = MinSnr | SoftMinSnr | TruncatedSnr | InverseSnr | EvenIn | P2 | Uniform


@dataclass(frozen=True, kw_only=True, slots=True)
class MinSnrConfig:
    """A diffusion transformer, what it predicts, and how much each noise level counts in its training.

    Args:
        network: The transformer; its last class, where it has classes, says nothing.
        noise_levels: Steps of the cosine path.
        prediction: What the network predicts.
        weighting: How much each noise level counts.
        autoencoder: Pictures to latents; None denoises pixels.
        names: The classes' names, in order; empty where they have numbers only.
    """

    network: DiffusionVitConfig
    noise_levels: int = 1000
    prediction: X0 | Epsilon | V = X0()
    weighting: AnyWeighting = MinSnr()
    autoencoder: AutoencoderKlConfig | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.noise_levels <= self.network.times:
            raise ValueError(f"noise_levels is {self.noise_levels}, but the network knows {self.network.times} times")
        channels = 3 if self.autoencoder is None else self.autoencoder.latent_channels
        if self.network.channels != channels:
            raise ValueError(f"the network has {self.network.channels} channels, but its states have {channels}")
        if self.network.classes < 2:
            raise ValueError(f"classes is {self.network.classes}, but there must be one, and one that says nothing")
        if self.names and len(self.names) != self.classes:
            raise ValueError(f"{len(self.names)} names do not fit {self.classes} classes")

    @property
    def classes(self) -> int:
        """Classes that say something; this is also the number of the one that does not."""
        return self.network.classes - 1

    @property
    def picture_size(self) -> int:
        """Side of a picture in pixels."""
        return self.network.size * (1 if self.autoencoder is None else self.autoencoder.factor)


class Weights(Enum):
    """How much each noise level counts in training; each is on the error of x0."""

    MIN_SNR = "min_snr"
    """min(SNR, 5): the paper's."""
    SOFT_MIN_SNR = "soft_min_snr"
    """5 SNR / (SNR + 5)."""
    MAX_SNR = "max_snr"
    """max(SNR, 5)."""
    TRUNCATED_SNR = "truncated_snr"
    """max(SNR, 1)."""
    SNR = "snr"
    """SNR: even in the noise."""
    INVERSE_SNR = "inverse_snr"
    """1 / SNR."""
    P2 = "p2"
    """SNR / (1 + SNR)."""
    EVEN_IN_V = "even_in_v"
    """SNR + 1."""
    EVEN = "even"
    """1 on the error of whatever the network predicts."""


WEIGHTINGS: dict[Weights, AnyWeighting] = {
    Weights.MIN_SNR: MinSnr(),
    Weights.SOFT_MIN_SNR: SoftMinSnr(),
    Weights.MAX_SNR: TruncatedSnr(floor=5.0),
    Weights.TRUNCATED_SNR: TruncatedSnr(),
    Weights.SNR: EvenIn(Epsilon()),
    Weights.INVERSE_SNR: InverseSnr(),
    Weights.P2: P2(),
    Weights.EVEN_IN_V: EvenIn(V()),
    Weights.EVEN: Uniform(),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class MinSnrOptions:
    """What training may be told beyond its settings."""

    weighting: Weights | None = None
    """How much each noise level counts; the preset's when left out."""


def configure(config: MinSnrConfig, options: MinSnrOptions) -> MinSnrConfig:
    """The configuration that is trained."""
    return config if options.weighting is None else replace(config, weighting=WEIGHTINGS[options.weighting])


EMOJI_GROUPS = (
    "smileys and emotion", "people and body", "animals and nature", "food and drink", "travel and places",
    "activities", "objects", "symbols", "flags",
)  # fmt: skip
"""Unicode's groups of emoji, with "and" for ampersands."""

IMAGENET = 1001
"""ImageNet's classes, and the one that says nothing."""


def _vit(size: int, channels: int, patch_size: int, width: int, depth: int, num_heads: int) -> DiffusionVitConfig:
    return DiffusionVitConfig(
        size=size, channels=channels, patch_size=patch_size, width=width, depth=depth, num_heads=num_heads,
        classes=IMAGENET,
    )  # fmt: skip


BASE = MinSnrConfig(network=_vit(32, 4, 2, 768, 12, 12), autoencoder=AutoencoderKlConfig())
XL = MinSnrConfig(network=_vit(32, 4, 2, 1152, 28, 16), autoencoder=AutoencoderKlConfig())
LARGE_64 = MinSnrConfig(network=_vit(64, 3, 4, 1024, 21, 16), prediction=Epsilon())
TINY = MinSnrConfig(
    network=DiffusionVitConfig(
        size=16, channels=3, patch_size=4, width=96, depth=8, num_heads=3, times=100, classes=len(EMOJI_GROUPS) + 1
    ),
    noise_levels=100,
    names=EMOJI_GROUPS,
)

_AUTOENCODER = "the authors' `vision_transformer.py` at this size, and Stable Diffusion's autoencoder"

PRESETS = {
    "imagenet256-b": Preset(
        config=BASE, parameters=172_763_383, source=f"configs/in256, ViT-B with 12 layers: {_AUTOENCODER}"
    ),
    "imagenet256-b-v": Preset(
        config=replace(BASE, prediction=V()),
        parameters=172_763_383,
        source=f"configs/in256, ViT-B that predicts v: {_AUTOENCODER}",
    ),
    "imagenet256-xl": Preset(
        config=XL, parameters=536_044_279, source=f"configs/in256/inference.sh, FID 2.06: {_AUTOENCODER}"
    ),
    "imagenet64-l": Preset(
        config=LARGE_64,
        parameters=269_983_792,
        source="configs/in64/inference.sh, FID 2.28: the authors' `vision_transformer.py` at this size",
    ),
    "tiny": Preset(config=TINY, parameters=915_600, source="for the emoji world at 16 pixels, by Unicode's groups"),
}
"""Sizes by name; sources are the files of the authors' repository. Its time tables have 4000 rows."""
