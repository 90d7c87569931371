"""Sizes of EVA and EVA-CLIP, published and bundled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from bottega.layers import Activation
from bottega.networks import EVA_SIZES, ClipTextConfig, ClipVisionConfig, EvaConfig
from bottega.room import Preset


class Target(Enum):
    """What the masked patches must be told as."""

    FEATURES = "features"
    """The teacher's features of the patch."""
    PIXELS = "pixels"
    """The patch's own pixels, normalised: the comparison without a teacher."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedConfig:
    """Masked pre-training in the BEiT manner: a token stands for each hidden patch.

    Args:
        features: Channels of the teacher's features; those of `Target.PIXELS` follow from the patch.
        target: What is regressed.
        share: Share of the patches that is hidden.
        smallest: Least area of a hidden rectangle, in patches.
    """

    features: int = 768
    target: Target = Target.FEATURES
    share: float = 105 / 256
    smallest: int = 16

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share {self.share} must be between 0 and 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderConfig:
    """Masked pre-training in the MAE manner: hidden patches are left out, and a small decoder fills them in.

    Args:
        features: Channels of the teacher's features.
        width: Channels of the decoder's tokens.
        depth: Its blocks.
        num_heads: Its attention heads.
        share: Share of the patches that is left out.
    """

    features: int = 1024
    width: int = 512
    depth: int = 4
    num_heads: int = 16
    share: float = 0.75


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipConfig:
    """What makes EVA-CLIP of a tower: a projection, and a text tower.

    Args:
        text: The text tower.
        embedding: Channels of the shared space.
        dropped: Share of the patches that the picture tower does not read while it learns.
        picture_decay: Factor on the learning rate from layer to layer towards the pixels; 0.9 for E.
        text_decay: The same of the text tower.
        text_rate: Share of the learning rate that the text tower has; it starts from one that was trained before.
    """

    text: ClipTextConfig
    embedding: int = 1024
    dropped: float = 0.5
    picture_decay: float = 0.85
    text_decay: float = 0.75
    text_rate: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.dropped < 1:
            raise ValueError(f"dropped {self.dropped} must be in [0, 1)")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaRoomConfig:
    """What a model of this room holds.

    Args:
        tower: The vision transformer.
        masked: Its masked pre-training; None where there is none.
        clip: Its pictures and texts; None where there are none.
        teacher: The picture tower whose features are regressed; None where it is not part of the weights. It shares
            the text tower and the space of `clip`.
    """

    tower: EvaConfig
    masked: MaskedConfig | DecoderConfig | None = None
    clip: ClipConfig | None = None
    teacher: ClipVisionConfig | None = None

    def __post_init__(self) -> None:
        if self.masked is None and self.clip is None:
            raise ValueError("a model needs masked pre-training, or pictures and texts, or both")
        if self.teacher is None:
            return
        if self.clip is None or self.teacher.embedding != self.clip.embedding:
            raise ValueError("the teacher must share the space of clip")
        sides = (self.teacher.size // self.teacher.patch_size, self.tower.side)
        if self.masked is not None and (sides[0] != sides[1] or self.masked.features != self.teacher.embedding):
            raise ValueError(f"the teacher has {sides[0]} patches a side and {self.teacher.embedding} features")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaOptions:
    """What else training may vary.

    Args:
        target: What masked pre-training regresses.
    """

    target: Target | None = None


def configure(config: EvaRoomConfig, options: EvaOptions) -> EvaRoomConfig:
    """The configuration with the choices that were made."""
    if options.target is not None and isinstance(config.masked, MaskedConfig):
        return replace(config, masked=replace(config.masked, target=options.target))
    return config


def _clip(tower: str, width: int, depth: int, *, embedding: int = 1024, size: int = 224) -> EvaRoomConfig:
    text = ClipTextConfig(width=width, depth=depth, num_heads=width // 64, activation=Activation.GELU)
    decay = 0.9 if tower == "02-E-14" else 0.85
    clip = ClipConfig(text=text, embedding=embedding, picture_decay=decay)
    return EvaRoomConfig(tower=replace(EVA_SIZES[tower], size=size), clip=clip)


TINY = EvaRoomConfig(
    tower=EvaConfig(size=64, patch_size=8, width=128, depth=5, num_heads=4, hidden=512),
    masked=MaskedConfig(features=64, share=0.41, smallest=4),
    clip=ClipConfig(
        text=ClipTextConfig(
            vocabulary=1536, context=32, width=96, depth=3, num_heads=3, activation=Activation.GELU, end_token=1
        ),
        embedding=64,
        picture_decay=0.9,
        text_decay=1.0,
        text_rate=1.0,
    ),
    teacher=ClipVisionConfig(
        size=64, patch_size=8, width=96, depth=3, num_heads=3, embedding=64, activation=Activation.GELU
    ),
)

_TABLE = "EVA-CLIP/rei/eva_clip/model_configs"

PRESETS = {
    "eva-g": Preset(
        config=EvaRoomConfig(tower=EVA_SIZES["g-14"], masked=MaskedConfig()),
        parameters=1_012_229_632,
        source="baaivision/EVA, eva_psz14.pt: the tower of 1,011 M with its mask token and regression head",
    ),
    "eva-l": Preset(
        config=EvaRoomConfig(tower=EVA_SIZES["L-14"], masked=DecoderConfig()),
        parameters=316_839_936,
        source="baaivision/EVA, mae_vit_large_patch16_dec512d4b: the tower of 303 M with its decoder",
    ),
    "clip-g": Preset(config=_clip("g-14", 768, 12), parameters=1_136_435_841, source=f"{_TABLE}/EVA01-CLIP-g-14.json"),
    "clip-g-plus": Preset(
        config=_clip("g-14", 1024, 24), parameters=1_366_621_569, source=f"{_TABLE}/EVA01-CLIP-g-14-plus.json"
    ),
    "clip-l": Preset(
        config=_clip("02-L-14", 768, 12, embedding=768), parameters=427_755_457, source=f"{_TABLE}/EVA02-CLIP-L-14.json"
    ),
    "clip-l-336": Preset(
        config=_clip("02-L-14", 768, 12, embedding=768, size=336),
        parameters=428_083_137,
        source=f"{_TABLE}/EVA02-CLIP-L-14-336.json",
    ),
    "clip-e": Preset(
        config=_clip("02-E-14", 1024, 24), parameters=4_704_589_569, source=f"{_TABLE}/EVA02-CLIP-bigE-14.json"
    ),
    "clip-e-plus": Preset(
        config=_clip("02-E-14", 1280, 32), parameters=5_044_889_089, source=f"{_TABLE}/EVA02-CLIP-bigE-14-plus.json"
    ),
    "tiny": Preset(config=TINY, parameters=1_899_969, source="bundled; trained on emoji in places"),
}
"""Sizes by name."""
