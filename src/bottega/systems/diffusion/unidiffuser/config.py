"""Sizes of UniDiffuser, published and bundled."""

from __future__ import annotations

from dataclasses import dataclass

from bottega.networks import (
    AutoencoderKlConfig,
    BlockNorm,
    CaptionDecoderConfig,
    ClipTextConfig,
    ClipVisionConfig,
    Gpt2Config,
    UVitTrunkConfig,
)
from bottega.processes.diffusion import Epsilon, V
from bottega.room import Preset


@dataclass(frozen=True, kw_only=True, slots=True)
class JointUVitConfig:
    """Size of the joint noise predictor.

    Args:
        trunk: The transformer.
        latent_size: Side of the latent grid.
        latent_channels: Channels of a latent.
        patch_size: Side of a patch of latents.
        picture_dim: Channels of CLIP's picture embedding.
        text_tokens: Tokens of a text code.
        text_dim: Channels of a text code's token.
        data_type: Whether a token tells which collection a sample is from (version 1 of the published weights).
        prediction: What the network says about a noisy signal: its noise, as published, or its velocity.
    """

    trunk: UVitTrunkConfig
    latent_size: int = 64
    latent_channels: int = 4
    patch_size: int = 2
    picture_dim: int = 512
    text_tokens: int = 77
    text_dim: int = 64
    data_type: bool = False
    prediction: Epsilon | V = Epsilon()

    @property
    def patches(self) -> int:
        """Patches of a latent grid."""
        return (self.latent_size // self.patch_size) ** 2


@dataclass(frozen=True, kw_only=True, slots=True)
class UniDiffuserConfig:
    """The whole pipeline.

    Args:
        joint: The joint noise predictor.
        autoencoder: Pictures to latents.
        text: CLIP's text tower.
        vision: CLIP's picture tower.
        caption: Text features to a narrow code and back to text.
    """

    joint: JointUVitConfig
    autoencoder: AutoencoderKlConfig
    text: ClipTextConfig
    vision: ClipVisionConfig
    caption: CaptionDecoderConfig

    def __post_init__(self) -> None:
        pairs = (
            ("text_tokens", self.joint.text_tokens, self.text.context),
            ("text_dim", self.joint.text_dim, self.caption.hidden_dim),
            ("picture_dim", self.joint.picture_dim, self.vision.embedding),
            ("latent_channels", self.joint.latent_channels, self.autoencoder.latent_channels),
            ("caption.prefix_dim", self.caption.prefix_dim, self.text.width),
            ("caption.prefix_length", self.caption.prefix_length, self.text.context),
        )
        for name, ours, theirs in pairs:
            if ours != theirs:
                raise ValueError(f"{name} is {ours}, but the part it meets has {theirs}")

    @property
    def picture_size(self) -> int:
        """Side of a picture in pixels."""
        return self.joint.latent_size * self.autoencoder.factor


def _published(*, data_type: bool) -> UniDiffuserConfig:
    trunk = UVitTrunkConfig(width=1536, depth=30, num_heads=24, norm=BlockNorm.POST)
    return UniDiffuserConfig(
        joint=JointUVitConfig(trunk=trunk, data_type=data_type),
        autoencoder=AutoencoderKlConfig(),
        text=ClipTextConfig(),
        vision=ClipVisionConfig(),
        caption=CaptionDecoderConfig(gpt2=Gpt2Config(vocabulary=50258)),
    )


TINY = UniDiffuserConfig(
    joint=JointUVitConfig(
        trunk=UVitTrunkConfig(width=192, depth=6, num_heads=3, norm=BlockNorm.POST),
        latent_size=16,
        picture_dim=64,
        text_tokens=24,
        text_dim=16,
        prediction=V(),
    ),
    autoencoder=AutoencoderKlConfig(channels=(16, 32, 64), blocks_per_stage=1, groups=8, scale=1.0),
    text=ClipTextConfig(vocabulary=1536, context=24, width=96, depth=3, num_heads=3, end_token=1),
    vision=ClipVisionConfig(size=64, patch_size=8, width=96, depth=3, num_heads=3, embedding=64),
    caption=CaptionDecoderConfig(
        prefix_length=24,
        prefix_dim=96,
        hidden_dim=16,
        gpt2=Gpt2Config(vocabulary=1536, context=48, width=96, depth=3, num_heads=3),
    ),
)

PRESETS = {
    "v0": Preset(
        config=_published(data_type=False), parameters=1_371_608_183, source="thu-ml/unidiffuser, uvit_v0.pth"
    ),
    "v1": Preset(config=_published(data_type=True), parameters=1_371_612_791, source="thu-ml/unidiffuser, uvit_v1.pth"),
    "tiny": Preset(config=TINY, parameters=5_413_479, source="bundled; trained on the emoji world"),
}
