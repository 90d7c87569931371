"""Published backbones that several systems share."""

from bottega.networks.adm_unet import ADM_SIZES, AdmCondition, AdmUnet, AdmUnetConfig
from bottega.networks.adm_unet_tables import LEGACY_ROWS, NEW_ROWS, adm_keys_diffusers, adm_keys_edm, adm_keys_guided
from bottega.networks.autoencoder_kl import AutoencoderKl, AutoencoderKlConfig, DiagonalGaussian
from bottega.networks.caption_decoder import CaptionDecoder, CaptionDecoderConfig
from bottega.networks.clip import ClipText, ClipTextConfig, ClipVision, ClipVisionConfig, clip_normalise
from bottega.networks.gpt2 import Gpt2, Gpt2Config
from bottega.networks.tables import (
    AUTOENCODER_KL_KEYS,
    CAPTION_DECODER_KEYS,
    CLIP_TEXT_KEYS,
    CLIP_VISION_KEYS,
    GPT2_KEYS,
    autoencoder_kl_config,
    autoencoder_kl_json,
    clip_text_config,
    clip_text_json,
    clip_vision_config,
    clip_vision_json,
    gpt2_config,
    gpt2_json,
    vit_keys,
)
from bottega.networks.uvit import BlockNorm, UVitTrunk, UVitTrunkConfig, initialise_vit
from bottega.networks.vit import VIT_SIZES, Vit, VitConfig

__all__ = [
    "ADM_SIZES",
    "LEGACY_ROWS",
    "NEW_ROWS",
    "AdmCondition",
    "AdmUnet",
    "AdmUnetConfig",
    "adm_keys_diffusers",
    "adm_keys_edm",
    "adm_keys_guided",
    "VIT_SIZES",
    "Vit",
    "VitConfig",
    "vit_keys",
    "AUTOENCODER_KL_KEYS",
    "CAPTION_DECODER_KEYS",
    "CLIP_TEXT_KEYS",
    "CLIP_VISION_KEYS",
    "GPT2_KEYS",
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
    "autoencoder_kl_config",
    "autoencoder_kl_json",
    "clip_normalise",
    "clip_text_config",
    "clip_text_json",
    "clip_vision_config",
    "clip_vision_json",
    "gpt2_config",
    "gpt2_json",
    "initialise_vit",
]
