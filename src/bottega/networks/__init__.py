"""Published backbones that several systems share."""

from bottega.networks.autoencoder_kl import AutoencoderKl, AutoencoderKlConfig, DiagonalGaussian
from bottega.networks.caption_decoder import CaptionDecoder, CaptionDecoderConfig
from bottega.networks.clip import ClipText, ClipTextConfig, ClipVision, ClipVisionConfig, clip_normalise
from bottega.networks.gpt2 import Gpt2, Gpt2Config
from bottega.networks.uvit import BlockNorm, UVitTrunk, UVitTrunkConfig, initialise_vit

__all__ = [
    "AutoencoderKl",
    "AutoencoderKlConfig",
    "BlockNorm",
    "CaptionDecoder",
    "CaptionDecoderConfig",
    "ClipText",
    "ClipTextConfig",
    "ClipVision",
    "ClipVisionConfig",
    "DiagonalGaussian",
    "Gpt2",
    "Gpt2Config",
    "UVitTrunk",
    "UVitTrunkConfig",
    "clip_normalise",
    "initialise_vit",
]
