"""Sizes of Segment Anything, published and for the bundled worlds."""

from __future__ import annotations

from dataclasses import dataclass

from bottega.networks import VIT_DET_SIZES, VitDetConfig
from bottega.room import Preset


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskDecoderConfig:
    """Size of the mask decoder.

    Args:
        depth: Two-way blocks.
        num_heads: Attention heads.
        hidden: Hidden channels of the blocks' MLPs.
        shrink: By how much attention between tokens and picture has fewer channels.
        answers: Masks for a prompt that may mean several things.
        score_hidden: Hidden channels of the layers that predict how well a mask fits.
        score_depth: Their number.
        eps: Epsilon of the blocks' normalisations: 1e-5 in Meta's code, 1e-6 in transformers' files.
    """

    depth: int = 2
    num_heads: int = 8
    hidden: int = 2048
    shrink: int = 2
    answers: int = 3
    score_hidden: int = 256
    score_depth: int = 3
    eps: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("depth", "num_heads", "hidden", "shrink", "answers", "score_hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but it must be at least 1")
        if self.score_depth < 2:
            raise ValueError(f"score_depth is {self.score_depth}, but it must be at least 2")


@dataclass(frozen=True, kw_only=True, slots=True)
class SamConfig:
    """Size of a whole Segment Anything model.

    Args:
        encoder: The picture's transformer; its `out_channels` are the channels of tokens and features behind it.
        decoder: The mask decoder.
        mask_channels: Channels of a mask prompt before it is as wide as the features.
        words: Channels of the features that stand for words; None for sizes that read none, as those published.
        reader: The system that gives pictures and words such features.
    """

    encoder: VitDetConfig
    decoder: MaskDecoderConfig = MaskDecoderConfig()
    mask_channels: int = 16
    words: int | None = None
    reader: str = "eva"

    def __post_init__(self) -> None:
        width, decoder = self.encoder.out_channels, self.decoder
        if width % (8 * decoder.shrink) or width // decoder.shrink % decoder.num_heads:
            raise ValueError(
                f"out_channels {width} must be a multiple of 8 * {decoder.shrink} and of {decoder.num_heads} heads"
            )
        if self.mask_channels % 4:
            raise ValueError(f"mask_channels {self.mask_channels} must be a multiple of 4")

    @property
    def width(self) -> int:
        """Channels of tokens and features."""
        return self.encoder.out_channels

    @property
    def size(self) -> int:
        """Side of the square that the encoder sees, in pixels."""
        return self.encoder.size

    @property
    def low_res_side(self) -> int:
        """Side of the decoder's logits, and of mask prompts."""
        return 4 * self.encoder.side


_TINY = SamConfig(
    encoder=VitDetConfig(
        size=256, width=128, depth=8, num_heads=4, window=8, global_blocks=(1, 3, 5, 7), out_channels=128
    ),
    decoder=MaskDecoderConfig(num_heads=4, hidden=512, score_hidden=128),
    words=64,
)

PRESETS = {
    "vit_b": Preset(
        config=SamConfig(encoder=VIT_DET_SIZES["b"]),
        parameters=93_735_472,
        source="sam_vit_b_01ec64.pth: 91 M in the encoder's table, without the fixed frequencies",
    ),
    "vit_l": Preset(
        config=SamConfig(encoder=VIT_DET_SIZES["l"]), parameters=312_342_832, source="sam_vit_l_0b3195.pth"
    ),
    "vit_h": Preset(
        config=SamConfig(encoder=VIT_DET_SIZES["h"]), parameters=641_090_608, source="sam_vit_h_4b8939.pth"
    ),
    "tiny": Preset(config=_TINY, parameters=2_661_440, source="for emoji scenes and nested shapes at 256 pixels"),
}
"""Sizes by name, from arXiv:2304.02643 and `segment_anything/build_sam.py`."""
