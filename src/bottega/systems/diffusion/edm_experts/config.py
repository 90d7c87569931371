"""Sizes of eDiff-I: the cascade as read from the paper, and one for coloured emoji."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from bottega.networks import T5_SIZES, AdmUnetConfig, ClipTextConfig, ClipVisionConfig, T5EncoderConfig
from bottega.room import Preset


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseNode:
    """A node of the binary tree over noise levels, whose levels each cut the training density into equal parts.

    Args:
        level: Depth in the tree; the root is 0 and holds all noise levels.
        index: Which of the 2 ** level parts, from the cleanest 0 to the noisiest.

    Source: arXiv:2211.01324, section 3.1.
    """

    level: int
    index: int

    def __post_init__(self) -> None:
        if self.level < 0 or not 0 <= self.index < 2**self.level:
            raise ValueError(f"there is no node {self.index} at level {self.level}; it has 0 to {2**self.level - 1}")

    @property
    def interval(self) -> tuple[float, float]:
        """Its part of the unit interval, in probability under the training density."""
        return self.index / 2**self.level, (self.index + 1) / 2**self.level

    @property
    def parent(self) -> NoiseNode | None:
        """The node that it was split from."""
        return NoiseNode(level=self.level - 1, index=self.index // 2) if self.level else None

    @property
    def branch(self) -> tuple[NoiseNode, ...]:
        """The nodes from the root, which is left out, down to this one."""
        return tuple(NoiseNode(level=n, index=self.index >> (self.level - n)) for n in range(1, self.level + 1))

    @property
    def children(self) -> tuple[NoiseNode, NoiseNode]:
        """Its cleaner and its noisier half."""
        first = 2 * self.index
        return NoiseNode(level=self.level + 1, index=first), NoiseNode(level=self.level + 1, index=first + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class EfficientUnetConfig:
    """Size of an Efficient U-Net: convolutions change the resolution, and most blocks work at low resolutions.

    Args:
        size: Side of the picture in pixels.
        channels_in: Channels of the input: the picture's, and those of the enlarged coarse picture.
        channels_out: Channels of the output.
        width: Channels that the multipliers multiply.
        multipliers: Channels of each level over `width`, from fine to coarse.
        blocks: Residual blocks of each level, on the way down and on the way up.
        attention_sizes: Sides of the feature maps with attention, self and cross, after every block.
        head_dim: Channels of an attention head.
        augment_dim: Channels that tell how noisy the coarse picture is.

    Source: arXiv:2205.11487, appendix B.1.
    """

    size: int
    channels_in: int = 6
    channels_out: int = 3
    width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4, 8)
    blocks: tuple[int, ...] = (2, 4, 8, 8)
    attention_sizes: tuple[int, ...] = (32,)
    head_dim: int = 64
    augment_dim: int = 64

    def __post_init__(self) -> None:
        if len(self.blocks) != len(self.multipliers) or min(self.blocks, default=0) < 1:
            raise ValueError(f"blocks {self.blocks} must say at least 1 for each of {len(self.multipliers)} levels")
        if self.size % 2 ** (len(self.blocks) - 1):
            raise ValueError(f"size {self.size} must be a multiple of {2 ** (len(self.blocks) - 1)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class StageConfig:
    """One model of the cascade.

    Args:
        unet: Its network; conditions are filled in by the pipeline.
        experts: Noise levels with an expert of their own; one more expert has all the others.
        log_sigma_mean: Mean of log(sigma) in training.
        log_sigma_std: Its standard deviation.
    """

    unet: AdmUnetConfig | EfficientUnetConfig
    experts: tuple[NoiseNode, ...] = ()
    log_sigma_mean: float = -1.2
    log_sigma_std: float = 1.2

    def __post_init__(self) -> None:
        spans = sorted(node.interval for node in self.experts)
        if any(left[1] > right[0] for left, right in pairwise(spans)):
            raise ValueError(f"two of the experts {self.experts} have noise levels in common")
        if sum(high - low for low, high in spans) >= 1.0:
            raise ValueError(f"the experts {self.experts} leave no noise levels to the last one")


@dataclass(frozen=True, kw_only=True, slots=True)
class EdmExpertsConfig:
    """The cascade with its encoders.

    Args:
        t5: The encoder that was trained on texts alone.
        t5_tokens: Tokens of a text for it.
        clip_text: The tower that was trained on pairs of texts and pictures.
        clip_vision: Its partner, which reads styles.
        context_dim: Channels of the tokens that the U-Nets look at.
        base: The model that makes the smallest picture.
        upscalers: Models that enlarge it, in order.
        sigma_data: Standard deviation of pictures.
    """

    t5: T5EncoderConfig
    t5_tokens: int
    clip_text: ClipTextConfig
    clip_vision: ClipVisionConfig
    context_dim: int
    base: StageConfig
    upscalers: tuple[StageConfig, ...] = ()
    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        sides = [stage.unet.size for stage in (self.base, *self.upscalers)]
        if sides != sorted(set(sides)):
            raise ValueError(f"the sides of the cascade {sides} must rise")


BASE_EXPERTS = (NoiseNode(level=9, index=511), NoiseNode(level=3, index=0))
"""The noisiest 512th and the cleanest eighth; the third expert has the rest."""

PUBLISHED = EdmExpertsConfig(
    t5=T5_SIZES["t5-v1.1-xxl"],
    t5_tokens=113,
    clip_text=ClipTextConfig(),
    clip_vision=ClipVisionConfig(patch_size=14, width=1024, depth=24, num_heads=16, embedding=768),
    context_dim=1024,
    base=StageConfig(unet=AdmUnetConfig(size=64, width=256, multipliers=(1, 2, 4, 4), blocks=3), experts=BASE_EXPERTS),
    upscalers=(
        StageConfig(unet=EfficientUnetConfig(size=256)),
        StageConfig(unet=EfficientUnetConfig(size=1024, multipliers=(1, 2, 4, 4), attention_sizes=(32,))),
    ),
)

TINY = EdmExpertsConfig(
    t5=T5EncoderConfig(vocabulary=192, width=48, hidden=96, depth=2, num_heads=3, head_dim=16, buckets=16),
    t5_tokens=14,
    clip_text=ClipTextConfig(vocabulary=192, context=14, width=48, depth=2, num_heads=3, end_token=1),
    clip_vision=ClipVisionConfig(size=32, patch_size=8, width=48, depth=2, num_heads=3, embedding=32),
    context_dim=48,
    base=StageConfig(
        unet=AdmUnetConfig(size=8, width=32, multipliers=(1,), blocks=1, attention_sizes=(8,), head_dim=16),
        experts=(NoiseNode(level=4, index=15), NoiseNode(level=2, index=0)),
    ),
    upscalers=(
        StageConfig(
            unet=EfficientUnetConfig(
                size=32, width=12, multipliers=(1, 2, 2), blocks=(1, 1, 1), attention_sizes=(8,), head_dim=12,
                augment_dim=16,
            )
        ),
    ),
)  # fmt: skip
"""Pictures of 8 pixels, enlarged to 32: as in the paper, the base model plans and the next one draws."""


PRESETS = {
    "ediff-i": Preset(
        config=PUBLISHED,
        parameters=8_109_526_031,
        source="the paper's parts and total (9.1 B); channels and blocks as remembered from its appendix, not verified",
    ),
    "tiny": Preset(config=TINY, parameters=998_748, source="for coloured emoji at 8 and 32 pixels"),
}
