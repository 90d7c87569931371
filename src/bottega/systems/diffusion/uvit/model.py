"""The modules of U-ViT. Source: arXiv:2209.12152, section 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bottega.errors import WeightsError
from bottega.layers import PatchEmbed, sinusoid, unpatchify
from bottega.networks import AutoencoderKl, ClipText, UVitTrunk, initialise_vit
from bottega.systems.diffusion.uvit.config import ClassCondition, TextCondition, UVitConfig
from bottega.tokenizers import BpeTokenizer


class UVit(nn.Module):
    """The noise predictor: time, condition and patches are tokens of one transformer."""

    def __init__(self, config: UVitConfig) -> None:
        super().__init__()
        self.config = config
        width, channels = config.trunk.width, config.channels
        self.patch_embed = PatchEmbed(channels, width, config.patch_size)
        self.time_embed = _time_mlp(width) if config.time_mlp else nn.Identity()
        match config.condition:
            case ClassCondition(classes=classes, null=null):
                self.class_embed = nn.Embedding(classes + null, width)
            case TextCondition(dim=dim):
                self.text_embed = nn.Linear(dim, width)
        self.pos_embed = nn.Parameter(torch.empty(config.extra_tokens + config.rows**2, width))
        self.trunk = UVitTrunk(config.trunk)
        self.head = nn.Linear(width, config.patch_size**2 * channels)
        self.final_conv = nn.Conv2d(channels, channels, 3, padding=1) if config.final_conv else nn.Identity()
        initialise_vit(self)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, x: Tensor, time: Tensor, condition: Tensor | None = None) -> Tensor:
        """Predicts the noise.

        Args:
            x: Noisy pictures or latents `(batch, channels, size, size)`.
            time: `(batch,)`, 0 to 1000, in the words of `config.time`.
            condition: Class ids `(batch,)`, or states of a text `(batch, tokens, dim)`; None where there is none.

        Returns:
            The noise, of x's shape.
        """
        width = self.config.trunk.width
        time_token = self.time_embed(sinusoid(time, width).to(self.pos_embed.dtype)).unsqueeze(1)
        tokens = torch.cat((*self._front(time_token, condition), self.patch_embed(x)), dim=1) + self.pos_embed
        patches = self.trunk(tokens)[:, self.config.extra_tokens :]
        return self.final_conv(unpatchify(self.head(patches), self.config.rows, self.config.patch_size))

    def _front(self, time_token: Tensor, condition: Tensor | None) -> tuple[Tensor, ...]:
        """The tokens before the patches, in the published order: class, time; or time, text."""
        match self.config.condition:
            case ClassCondition():
                return self.class_embed(condition).unsqueeze(1), time_token
            case TextCondition():
                return time_token, self.text_embed(condition)
        return (time_token,)


class UVitPipeline(nn.Module):
    """The noise predictor with what it needs to start from pictures and texts: an autoencoder and a text tower."""

    def __init__(self, config: UVitConfig) -> None:
        super().__init__()
        self.config = config
        self.network = UVit(config)
        self.autoencoder = None if config.autoencoder is None else AutoencoderKl(config.autoencoder)
        self.text = None if config.text is None else ClipText(config.text)
        self.tokenizer: BpeTokenizer | None = None

    def attach(self, assets: Mapping[str, str]) -> None:
        """Puts the tokenizer of a checkpoint onto the model, where there is one."""
        if "tokenizer" in assets:
            self.tokenizer = BpeTokenizer.from_json(assets["tokenizer"])

    def assets(self) -> dict[str, str]:
        """The tokenizer as JSON text: what `attach` takes."""
        return {} if self.tokenizer is None else {"tokenizer": self.tokenizer.to_json()}

    def to_signal(self, pictures: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Pictures `(batch, 3, height, width)` in [-1, 1] to what is denoised; latents are drawn with a generator."""
        return pictures if self.autoencoder is None else self.autoencoder.to_latents(pictures, generator)

    def to_pictures(self, signal: Tensor) -> Tensor:
        """The inverse of `to_signal`."""
        return signal if self.autoencoder is None else self.autoencoder.from_latents(signal)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Texts to ids `(texts, context)` on the CPU.

        Raises:
            WeightsError: If the weights came without a tokenizer.
        """
        if self.tokenizer is None or self.config.text is None:
            raise WeightsError("these weights have no tokenizer; load a checkpoint that carries one to use texts")
        return self.tokenizer.batch(texts, self.config.text.context)

    def read(self, tokens: Tensor) -> Tensor:
        """Ids `(texts, context)` to the states that condition the network."""
        if self.text is None:
            raise WeightsError("this size has no text tower; use coco-s-2 or coco-s-2-deep for texts")
        return self.text(tokens)


def _time_mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
