"""The modules of UniDiffuser. Source: arXiv:2303.06555, section 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bottega.errors import WeightsError
from bottega.layers import PatchEmbed, sinusoid, unpatchify
from bottega.networks import (
    AutoencoderKl,
    CaptionDecoder,
    ClipText,
    ClipVision,
    UVitTrunk,
    clip_normalise,
    initialise_vit,
)
from bottega.systems.diffusion.unidiffuser.config import JointUVitConfig, UniDiffuserConfig
from bottega.tokenizers import BpeTokenizer


@dataclass(frozen=True, slots=True)
class Signals:
    """A batch of picture-text pairs as the diffusion sees them: clean, noisy, or predicted noise.

    Args:
        latent: `(batch, channels, size, size)` from the autoencoder.
        picture: `(batch, picture_dim)` from CLIP's picture tower.
        text: `(batch, tokens, text_dim)` from the caption bottleneck.
    """

    latent: Tensor
    picture: Tensor
    text: Tensor

    def __len__(self) -> int:
        return len(self.latent)

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Latent, picture embedding and text code."""
        return self.latent, self.picture, self.text


class JointUVit(nn.Module):
    """The joint noise predictor: times, text, picture embedding and latent patches are all tokens of one U-ViT."""

    def __init__(self, config: JointUVitConfig) -> None:
        super().__init__()
        self.config = config
        width = config.trunk.width
        self.patch_embed = PatchEmbed(config.latent_channels, width, config.patch_size)
        self.picture_embed = nn.Linear(config.picture_dim, width)
        self.text_embed = nn.Linear(config.text_dim, width)
        self.pos_embed = nn.Parameter(torch.empty(2 + config.text_tokens + 1 + config.patches, width))
        if config.data_type:
            self.data_type_embed = nn.Embedding(2, width)
            self.data_type_pos_embed = nn.Parameter(torch.zeros(width))
        self.trunk = UVitTrunk(config.trunk)
        self.latent_out = nn.Linear(width, config.patch_size**2 * config.latent_channels)
        self.picture_out = nn.Linear(width, config.picture_dim)
        self.text_out = nn.Linear(width, config.text_dim)
        initialise_vit(self)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(
        self, noisy: Signals, picture_time: Tensor, text_time: Tensor, data_type: Tensor | None = None
    ) -> Signals:
        """Predicts the noise of both modalities.

        Args:
            noisy: Noisy signals; a modality at time 0 is clean, at the last time pure noise.
            picture_time: Time of latent and picture embedding in steps, `(batch,)`, 0 to 1000.
            text_time: Time of the text code in steps, `(batch,)`.
            data_type: Ids `(batch,)`, 0 or 1, for presets with data types; None means 1, the better collection.

        Returns:
            The predicted noise of each part.
        """
        width = self.config.trunk.width
        dtype = self.pos_embed.dtype
        times = torch.stack((sinusoid(picture_time, width), sinusoid(text_time, width)), dim=1).to(dtype)
        tokens = [
            times,
            self.text_embed(noisy.text),
            self.picture_embed(noisy.picture).unsqueeze(1),
            self.patch_embed(noisy.latent),
        ]
        x = torch.cat(tokens, dim=1) + self.pos_embed
        if self.config.data_type:
            x = self._insert_data_type(x, data_type)
        states = self.trunk(x)[:, -x.shape[1] + (3 if self.config.data_type else 2) :]
        text, picture, patches = states.split((self.config.text_tokens, 1, self.config.patches), dim=1)
        rows = self.config.latent_size // self.config.patch_size
        latent = unpatchify(self.latent_out(patches), rows, self.config.patch_size)
        return Signals(latent, self.picture_out(picture).squeeze(1), self.text_out(text))

    def _insert_data_type(self, x: Tensor, data_type: Tensor | None) -> Tensor:
        ids = torch.ones(len(x), dtype=torch.long, device=x.device) if data_type is None else data_type
        token = (self.data_type_embed(ids) + self.data_type_pos_embed).unsqueeze(1)
        return torch.cat((x[:, :2], token, x[:, 2:]), dim=1)


class UniDiffuser(nn.Module):
    """The whole pipeline: pictures and texts to signals, the joint noise predictor, and signals back."""

    def __init__(self, config: UniDiffuserConfig) -> None:
        super().__init__()
        self.config = config
        self.joint = JointUVit(config.joint)
        self.autoencoder = AutoencoderKl(config.autoencoder)
        self.text = ClipText(config.text)
        self.vision = ClipVision(config.vision)
        self.caption = CaptionDecoder(config.caption)
        self.text_tokenizer: BpeTokenizer | None = None
        self.caption_tokenizer: BpeTokenizer | None = None

    def attach(self, assets: Mapping[str, str]) -> None:
        """Puts the tokenizers of a checkpoint onto the model.

        Args:
            assets: `text_tokenizer` and, where it differs, `caption_tokenizer`, as JSON texts.
        """
        if "text_tokenizer" not in assets:
            return
        self.text_tokenizer = BpeTokenizer.from_json(assets["text_tokenizer"])
        self.caption_tokenizer = BpeTokenizer.from_json(assets.get("caption_tokenizer", assets["text_tokenizer"]))

    def assets(self) -> dict[str, str]:
        """The tokenizers as JSON texts: what `attach` takes; empty for a model without any."""
        if self.text_tokenizer is None or self.caption_tokenizer is None:
            return {}
        return {"text_tokenizer": self.text_tokenizer.to_json(), "caption_tokenizer": self.caption_tokenizer.to_json()}

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Texts to ids `(texts, context)` for the text tower.

        Raises:
            WeightsError: If the weights came without a tokenizer.
        """
        if self.text_tokenizer is None:
            raise WeightsError("these weights have no tokenizer; load a checkpoint that carries one to use texts")
        tokens = self.text_tokenizer.batch(texts, self.config.text.context)
        return tokens.to(self.joint.pos_embed.device)

    def text_code(self, texts: Sequence[str]) -> Tensor:
        """Texts to bottleneck codes `(texts, tokens, text_dim)`."""
        return self.caption.encode_prefix(self.text(self.tokenize(texts)))

    def write(self, code: Tensor, *, beams: int = 5) -> list[str]:
        """Bottleneck codes to texts, by beam search."""
        if self.caption_tokenizer is None:
            raise WeightsError("these weights have no tokenizer; load a checkpoint that carries one to use texts")
        longest = min(67, self.config.caption.gpt2.context - self.config.caption.prefix_length)
        found = self.caption.generate(code, end_token=self.caption_tokenizer.end, beams=beams, longest=longest)
        return [self.caption_tokenizer.text(ids) for ids in found]

    def picture_embedding(self, pictures: Tensor) -> Tensor:
        """Pictures `(batch, 3, size, size)` in [-1, 1] to CLIP embeddings `(batch, picture_dim)`."""
        size = self.config.vision.size
        if pictures.shape[-1] != size:
            pictures = nn.functional.interpolate(pictures, size=(size, size), mode="bicubic", antialias=True)
        return self.vision(clip_normalise(pictures))
