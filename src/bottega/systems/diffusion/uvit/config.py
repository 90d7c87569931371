"""Sizes of U-ViT, published and for the emoji world."""

from __future__ import annotations

from dataclasses import dataclass

from bottega.networks import AutoencoderKlConfig, ClipTextConfig, UVitTrunkConfig
from bottega.processes.diffusion import Epsilon, V
from bottega.room import Preset
from bottega.worlds.emoji import EMOJI_CLASSES


@dataclass(frozen=True, kw_only=True, slots=True)
class NoCondition:
    """Pictures of anything."""

    @property
    def tokens(self) -> int:
        """Tokens that the condition takes."""
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassCondition:
    """Pictures of a class, which is one token.

    Args:
        classes: Number of classes; they are numbered from 0.
        null: Whether one more embedding stands for any class, so that guidance is possible.
        names: The classes' names, in order; empty where they have numbers only.
    """

    classes: int
    null: bool
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise ValueError(f"classes is {self.classes}, but it must be at least 1")
        if self.names and len(self.names) != self.classes:
            raise ValueError(f"{len(self.names)} names do not fit {self.classes} classes")

    @property
    def tokens(self) -> int:
        """Tokens that the condition takes."""
        return 1


@dataclass(frozen=True, kw_only=True, slots=True)
class TextCondition:
    """Pictures of a text, whose states are tokens.

    Args:
        dim: Channels of a state.
        tokens: States of a text.
    """

    dim: int = 768
    tokens: int = 77


Condition = NoCondition | ClassCondition | TextCondition


@dataclass(frozen=True, kw_only=True, slots=True)
class ContinuousTime:
    """The variance-preserving SDE over times 0 to 1; the network is told 999 t."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscreteTime:
    """Stable Diffusion's 1000 noise levels; the network is told 1 to 1000."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UVitConfig:
    """Size of a U-ViT and of the parts around it.

    Args:
        trunk: The transformer.
        size: Side of what is denoised: pixels, or latents where there is an autoencoder.
        channels: Its channels.
        patch_size: Side of a patch.
        condition: What pictures are of.
        time: The noise levels that the network is trained on.
        final_conv: Whether a last 3x3 convolution smooths the seams between patches.
        time_mlp: Whether the time's token passes through an MLP of its own.
        autoencoder: Pictures to latents; None denoises pixels.
        text: The tower that gives texts their states; only with `TextCondition`.
        prediction: What the network says about a noisy signal: its noise, as published, or its velocity.
    """

    trunk: UVitTrunkConfig
    size: int
    channels: int = 3
    patch_size: int
    condition: Condition = NoCondition()
    time: ContinuousTime | DiscreteTime = ContinuousTime()
    final_conv: bool = True
    time_mlp: bool = False
    autoencoder: AutoencoderKlConfig | None = None
    text: ClipTextConfig | None = None
    prediction: Epsilon | V = Epsilon()

    def __post_init__(self) -> None:
        if self.size < 1 or self.patch_size < 1 or self.size % self.patch_size:
            raise ValueError(f"size {self.size} must be a multiple of patch_size {self.patch_size}")
        if self.autoencoder is not None and self.channels != self.autoencoder.latent_channels:
            raise ValueError(f"channels is {self.channels}, but the latents have {self.autoencoder.latent_channels}")
        if self.autoencoder is None and self.channels != 3:
            raise ValueError(f"channels is {self.channels}, but pictures have 3")
        if isinstance(self.condition, TextCondition) != (self.text is not None):
            raise ValueError("a text condition needs a text tower, and no other condition takes one")
        if isinstance(self.condition, TextCondition) and self.text is not None:
            given, needed = (self.text.width, self.text.context), (self.condition.dim, self.condition.tokens)
            if given != needed:
                raise ValueError(f"the text tower gives {given} (channels, tokens), but the condition takes {needed}")

    @property
    def rows(self) -> int:
        """Rows of patches."""
        return self.size // self.patch_size

    @property
    def extra_tokens(self) -> int:
        """Tokens in front of the patches: the time and the condition."""
        return 1 + self.condition.tokens

    @property
    def picture_size(self) -> int:
        """Side of a picture in pixels."""
        return self.size * (1 if self.autoencoder is None else self.autoencoder.factor)


def _trunk(width: int, depth: int, num_heads: int, *, long_skips: bool = True) -> UVitTrunkConfig:
    return UVitTrunkConfig(width=width, depth=depth, num_heads=num_heads, long_skips=long_skips)


SMALL, SMALL_DEEP, MID = _trunk(512, 12, 8), _trunk(512, 16, 8), _trunk(768, 16, 12)
LARGE, HUGE = _trunk(1024, 20, 16), _trunk(1152, 28, 16)
"""The trunks of table 1."""

IMAGENET = ClassCondition(classes=1000, null=True)


def _latent(trunk: UVitTrunkConfig, size: int, patch_size: int) -> UVitConfig:
    """ImageNet in latents: large has continuous times and a last convolution, huge has neither."""
    huge = trunk is HUGE
    return UVitConfig(
        trunk=trunk,
        size=size,
        channels=4,
        patch_size=patch_size,
        condition=IMAGENET,
        time=DiscreteTime() if huge else ContinuousTime(),
        final_conv=not huge,
        autoencoder=AutoencoderKlConfig(),
    )


def _coco(trunk: UVitTrunkConfig) -> UVitConfig:
    return UVitConfig(
        trunk=trunk,
        size=32,
        channels=4,
        patch_size=2,
        condition=TextCondition(),
        time=DiscreteTime(),
        autoencoder=AutoencoderKlConfig(scale=0.2301),
        text=ClipTextConfig(),
    )


def _imagenet64(trunk: UVitTrunkConfig) -> UVitConfig:
    return UVitConfig(trunk=trunk, size=64, patch_size=4, condition=ClassCondition(classes=1000, null=False))


def _tiny(*, long_skips: bool) -> UVitConfig:
    return UVitConfig(
        trunk=_trunk(128, 8, 4, long_skips=long_skips),
        size=32,
        patch_size=4,
        condition=ClassCondition(classes=len(EMOJI_CLASSES), null=True, names=EMOJI_CLASSES),
        prediction=V(),
    )


def _preset(config: UVitConfig, parameters: int, source: str) -> Preset[UVitConfig]:
    return Preset(config=config, parameters=parameters, source=source)


_PUBLISHED = {
    "cifar10-s-2": _preset(UVitConfig(trunk=SMALL, size=32, patch_size=2), 44_255_328, "cifar10_uvit_small.py: 44 M"),
    "celeba64-s-4": _preset(UVitConfig(trunk=SMALL, size=64, patch_size=4), 44_292_228, "celeba64_uvit_small.py: 44 M"),
    "imagenet64-m-4": _preset(_imagenet64(MID), 130_940_292, "imagenet64_uvit_mid.py: 131 M"),
    "imagenet64-l-4": _preset(_imagenet64(LARGE), 286_827_652, "imagenet64_uvit_large.py: 287 M"),
    "imagenet256-l-2": _preset(_latent(LARGE, 32, 2), 370_417_035, "imagenet256_uvit_large.py: 287 M + autoencoder"),
    "imagenet256-h-2": _preset(_latent(HUGE, 32, 2), 584_485_879, "imagenet256_uvit_huge.py: 501 M + autoencoder"),
    "imagenet512-l-4": _preset(_latent(LARGE, 64, 4), 370_515_387, "imagenet512_uvit_large.py: 287 M + autoencoder"),
    "imagenet512-h-4": _preset(_latent(HUGE, 64, 4), 584_596_519, "imagenet512_uvit_huge.py: 501 M + autoencoder"),
    "coco-s-2": _preset(
        _coco(SMALL), 251_406_987, "mscoco_uvit_small.py: 44 M + autoencoder + CLIP ViT-L/14's text tower"
    ),
    "coco-s-2-deep": _preset(_coco(SMALL_DEEP), 265_059_979, "mscoco_uvit_small.py with depth 16: 58 M + the same"),
}

PRESETS = {
    **_PUBLISHED,
    "s-2": _PUBLISHED["coco-s-2"],
    "s-2-deep": _PUBLISHED["coco-s-2-deep"],
    "m": _PUBLISHED["imagenet64-m-4"],
    "l-2": _PUBLISHED["imagenet256-l-2"],
    "h-2": _PUBLISHED["imagenet256-h-2"],
    "tiny": _preset(_tiny(long_skips=True), 1_946_628, "for the emoji world at 32 pixels, by Unicode's subgroups"),
    "tiny-no-skips": _preset(_tiny(long_skips=False), 1_815_044, "the paper's ablation: tiny without long skips"),
}
"""Sizes by name; sources are the files of the authors' `configs/`. `s-2`, `m`, `l-2`, `h-2` are short names."""
