"""CLIP: a picture tower and a text tower whose outputs meet in one space.

Source: Radford et al., arXiv:2103.00020, section 2.4; sizes from the published configurations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.layers import Activation, PreNormBlock
from bottega.networks.vit import Vit, VitConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipTextConfig:
    """Size of a text tower.

    Args:
        vocabulary: Number of token ids.
        context: Tokens of a text, padding included.
        width: Channels of a token.
        depth: Blocks.
        num_heads: Attention heads.
        activation: The MLPs' nonlinearity.
        end_token: Id of the end-of-text token, at which a text is pooled.
    """

    vocabulary: int = 49408
    context: int = 77
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    activation: Activation = Activation.QUICK_GELU
    end_token: int = 49407


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipVisionConfig:
    """Size of a picture tower.

    Args:
        size: Side of a picture in pixels.
        patch_size: Side of a patch in pixels.
        width: Channels of a token.
        depth: Blocks.
        num_heads: Attention heads.
        embedding: Channels of the shared space.
        activation: The MLPs' nonlinearity.
    """

    size: int = 224
    patch_size: int = 32
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    embedding: int = 512
    activation: Activation = Activation.QUICK_GELU

    @property
    def vit(self) -> VitConfig:
        """The tower's transformer: normalised before the first block, patches without bias."""
        return VitConfig(
            size=self.size,
            patch_size=self.patch_size,
            width=self.width,
            depth=self.depth,
            num_heads=self.num_heads,
            activation=self.activation,
            eps=1e-5,
            patch_bias=False,
            norm_in=True,
        )


class ClipText(nn.Module):
    """The text tower: a causal transformer."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embed = nn.Embedding(config.vocabulary, config.width)
        self.pos_embed = nn.Parameter(torch.empty(config.context, config.width))
        self.blocks = nn.ModuleList(
            PreNormBlock(config.width, config.num_heads, causal=True, activation=config.activation)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.token_embed.weight, std=0.02)
        nn.init.normal_(self.pos_embed, std=0.01)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids `(batch, up to context)` to states `(batch, tokens, width)`, normalised."""
        x = self.token_embed(tokens) + self.pos_embed[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def pool(self, states: Tensor, tokens: Tensor) -> Tensor:
        """The state at the first end-of-text token, `(batch, width)`."""
        end = (tokens == self.config.end_token).int().argmax(dim=1)
        return states[torch.arange(len(tokens), device=tokens.device), end]


class ClipVision(nn.Module):
    """The picture tower: a vision transformer, its class token projected into the shared space."""

    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.vit = Vit(config.vit)
        self.projection = nn.Linear(config.width, config.embedding, bias=False)

    def forward(self, picture: Tensor) -> Tensor:
        """Pictures `(batch, 3, size, size)`, normalised by `clip_normalise`, to embeddings `(batch, embedding)`."""
        return self.projection(self.vit(picture)[:, 0])


CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_normalise(picture: Tensor) -> Tensor:
    """Pictures `(batch, 3, height, width)` in [-1, 1] to the zero-mean unit-variance colours that CLIP was trained on.

    Source: the published preprocessing constants, per channel, for colours in [0, 1].
    """
    mean = picture.new_tensor(CLIP_MEAN)[:, None, None]
    std = picture.new_tensor(CLIP_STD)[:, None, None]
    return ((picture + 1) / 2 - mean) / std


def contrastive_loss(texts: Tensor, pictures: Tensor, log_scale: Tensor) -> Tensor:
    """The symmetric cross-entropy of matching texts and pictures of a batch.

    Args:
        texts: Embeddings `(batch, channels)`.
        pictures: Embeddings of the pictures they belong to, `(batch, channels)`.
        log_scale: Logarithm of the inverse temperature, a tensor without axes.

    Source: arXiv:2103.00020, figure 3.
    """
    logits = F.normalize(texts.float(), dim=-1) @ F.normalize(pictures.float(), dim=-1).T
    logits = logits * log_scale.clamp(max=4.6052).exp()  # the published bound: a factor of 100
    labels = torch.arange(len(logits), device=logits.device)
    return 0.5 * (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels))
