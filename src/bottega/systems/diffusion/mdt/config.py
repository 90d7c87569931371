"""Sizes of DiT, MDT and MDTv2, published and for the emoji world."""

from __future__ import annotations

from dataclasses import dataclass

from bottega.networks import DIT_SIZES, AutoencoderKlConfig, DitConfig
from bottega.room import Preset
from bottega.worlds.emoji import EMOJI_CLASSES


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainDesign:
    """DiT: blocks in a row, fixed positions, no masks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedDesign:
    """MDT: relative positions, learned positions, and the last blocks as a decoder that sees all tokens.

    Args:
        decode_layers: Blocks of the decoder. The side-interpolater stands before them.
        mask_ratio: Share of tokens that a training pass hides.
    """

    decode_layers: int = 2
    mask_ratio: float = 0.3

    def __post_init__(self) -> None:
        _check_masks(self.decode_layers, self.mask_ratio, self.mask_ratio)

    @property
    def ratios(self) -> tuple[float, float]:
        """The least and the greatest share of masked tokens."""
        return self.mask_ratio, self.mask_ratio


@dataclass(frozen=True, kw_only=True, slots=True)
class MacroDesign:
    """MDTv2: the encoder's deep blocks see its shallow ones, and every block of the decoder sees the input.

    Args:
        decode_layers: Blocks of the decoder; the rest is even, half of it shallow and half deep.
        least_ratio: Least share of tokens that a training pass hides.
        greatest_ratio: Greatest share; the share is uniform between them.
    """

    decode_layers: int = 4
    least_ratio: float = 0.3
    greatest_ratio: float = 0.5

    def __post_init__(self) -> None:
        _check_masks(self.decode_layers, self.least_ratio, self.greatest_ratio)

    @property
    def ratios(self) -> tuple[float, float]:
        """The least and the greatest share of masked tokens."""
        return self.least_ratio, self.greatest_ratio


def _check_masks(decode_layers: int, least: float, greatest: float) -> None:
    if decode_layers < 1:
        raise ValueError(f"decode_layers is {decode_layers}, but it must be at least 1")
    if not 0 < least <= greatest < 1:
        raise ValueError(f"mask ratios {least} and {greatest} must be between 0 and 1, in this order")


Design = PlainDesign | MaskedDesign | MacroDesign


@dataclass(frozen=True, kw_only=True, slots=True)
class MdtConfig:
    """Size of a network and of what is around it.

    Args:
        trunk: Size of the transformer.
        design: Which of the three papers' networks it is.
        autoencoder: Pictures to latents; None denoises pixels.
        class_names: The classes' names, in order; empty where they have numbers only.
    """

    trunk: DitConfig
    design: Design
    autoencoder: AutoencoderKlConfig | None = None
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        channels = 3 if self.autoencoder is None else self.autoencoder.latent_channels
        if self.trunk.channels != channels:
            raise ValueError(f"channels is {self.trunk.channels}, but what is denoised has {channels}")
        if not self.trunk.null_class or not self.trunk.learn_sigma:
            raise ValueError("these networks have a null class and learned variances")
        if self.class_names and len(self.class_names) != self.trunk.classes:
            raise ValueError(f"{len(self.class_names)} names do not fit {self.trunk.classes} classes")
        if isinstance(self.design, PlainDesign):
            return
        encoder = self.trunk.depth - self.design.decode_layers
        if encoder < 1 or (isinstance(self.design, MacroDesign) and encoder % 2):
            raise ValueError(f"{encoder} blocks of the encoder must be at least 1, and in MDTv2 an even number")

    @property
    def picture_size(self) -> int:
        """Side of a picture in pixels."""
        return self.trunk.size * (1 if self.autoencoder is None else self.autoencoder.factor)


def _imagenet(size: str, design: Design) -> MdtConfig:
    return MdtConfig(trunk=DIT_SIZES[size], design=design, autoencoder=AutoencoderKlConfig())


def _tiny(design: Design) -> MdtConfig:
    trunk = DitConfig(
        size=32, channels=3, patch_size=4, width=80, depth=6, num_heads=4, classes=len(EMOJI_CLASSES)
    )  # fmt: skip
    return MdtConfig(trunk=trunk, design=design, class_names=EMOJI_CLASSES)


def _preset(config: MdtConfig, parameters: int, source: str) -> Preset[MdtConfig]:
    return Preset(config=config, parameters=parameters, source=f"{source}{_VAE if config.autoencoder else ''}")


_VAE = " + 83.7 M of the autoencoder"
_DIT = "arXiv:2212.09748 table 1 and models.py"
_V1, _V2 = "models.py of sail-sg/MDT, branch mdtv1", "models.py of sail-sg/MDT"

PRESETS = {
    "dit-s-2": _preset(_imagenet("s-2", PlainDesign()), 116_518_919, f"{_DIT}: 33 M"),
    "dit-b-2": _preset(_imagenet("b-2", PlainDesign()), 213_969_671, f"{_DIT}: 130 M"),
    "dit-l-2": _preset(_imagenet("l-2", PlainDesign()), 541_494_535, f"{_DIT}: 458 M"),
    "dit-xl-2": _preset(_imagenet("xl-2", PlainDesign()), 758_488_583, f"{_DIT}: 675 M"),
    "dit-xl-4": _preset(_imagenet("xl-4", PlainDesign()), 758_654_567, f"{_DIT}: 675 M"),
    "dit-xl-8": _preset(_imagenet("xl-8", PlainDesign()), 759_318_503, f"{_DIT}: 676 M"),
    "mdt-s-2": _preset(_imagenet("s-2", MaskedDesign()), 119_451_071, f"{_V1}, run.sh: 2 decoder blocks"),
    "mdt-b-2": _preset(_imagenet("b-2", MaskedDesign()), 225_142_391, f"{_V1}, run_sample.sh: 2 decoder blocks"),
    "mdt-xl-2": _preset(_imagenet("xl-2", MaskedDesign()), 783_432_007, f"{_V1}, run_sample.sh: 2 decoder blocks"),
    "mdtv2-s-2": _preset(_imagenet("s-2", MacroDesign(decode_layers=6)), 122_108_735, f"{_V2}, run.sh: decoder of 6"),
    "mdtv2-b-2": _preset(_imagenet("b-2", MacroDesign()), 234_585_719, f"{_V2}, whose default is 4 decoder blocks"),
    "mdtv2-l-2": _preset(_imagenet("l-2", MacroDesign()), 590_669_639, f"{_V2}, whose default is 4 decoder blocks"),
    "mdtv2-xl-2": _preset(_imagenet("xl-2", MacroDesign()), 825_917_767, f"{_V2}, README: 4 decoder blocks"),
    "tiny": _preset(_tiny(MacroDesign(decode_layers=2)), 942_720, "MDTv2 for the emoji world at 32 pixels"),
    "tiny-mdt": _preset(_tiny(MaskedDesign()), 891_200, "MDT for the emoji world at 32 pixels"),
    "tiny-dit": _preset(_tiny(PlainDesign()), 758_096, "DiT for the emoji world, to compare with"),
}
"""Sizes by name."""
