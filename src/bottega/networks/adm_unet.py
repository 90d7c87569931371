"""ADM: the U-Net of "Diffusion Models Beat GANs", with BigGAN's residual blocks and adaptive group normalisation.

Source: Dhariwal and Nichol, arXiv:2105.05233, section 3; cross-attention to tokens as eDiff-I adds it to this network
(arXiv:2211.01324, appendix B). Sizes are those of the published code, openai/guided-diffusion and NVlabs/edm.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypedDict, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.layers import attend, merge_heads, sinusoid, split_heads

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


class Resample(Enum):
    """What a block does to height and width."""

    KEEP = "keep"
    DOWN = "down"
    """Halves them by the mean of 2 x 2."""
    UP = "up"
    """Doubles them by repetition."""


class AdmCondition(TypedDict, total=False):
    """What an `AdmUnet` is told besides the time; a mapping, so that guidance can join two.

    Keys:
        labels: Class ids `(batch,)`, or weights of the classes `(batch, classes)`: zeros say nothing.
        augment: How the picture was changed `(batch, augment_dim)` (EDM's augmentation labels).
        vector: Any vector `(batch, vector_dim)`.
        context: Tokens that the pixels look at `(batch, tokens, context_dim)`.
        context_mask: True where a token is to be seen `(batch, tokens)`.
        boost: Paint-with-words `(batch, tokens, size, size)`, at least 0: how much stronger a pixel looks at a token,
            in units of the largest score of that head.
        low: Channels put beside those of the picture `(batch, channels, size, size)`: a coarse picture enlarged.
    """

    labels: Tensor
    augment: Tensor
    vector: Tensor
    context: Tensor
    context_mask: Tensor
    boost: Tensor
    low: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class AdmUnetConfig:
    """Size of an ADM U-Net.

    Args:
        size: Side of the picture in pixels; a multiple of 2 ** (levels - 1). It only says where attention is.
        channels_in: Channels of the input, those of `low` included.
        channels_out: Channels of the output.
        width: Channels that the multipliers multiply.
        multipliers: Channels of each level over `width`, from fine to coarse.
        blocks: Residual blocks of a level on the way down; one more on the way up.
        attention_sizes: Sides of the feature maps with self-attention.
        head_dim: Channels of an attention head, unless `num_heads` is given.
        num_heads: Heads of every attention; None divides the channels by `head_dim`.
        dropout: Share of activations left out before each block's second convolution.
        classes: Number of classes; 0 for none.
        augment_dim: Channels of EDM's augmentation labels; 0 for none.
        vector_dim: Channels of a vector condition; 0 for none.
        context_dim: Channels of context tokens; 0 for none. Cross-attention follows every self-attention.
    """

    size: int
    channels_in: int = 3
    channels_out: int = 3
    width: int = 192
    multipliers: tuple[float, ...] = (1, 2, 3, 4)
    blocks: int = 3
    attention_sizes: tuple[int, ...] = (32, 16, 8)
    head_dim: int = 64
    num_heads: int | None = None
    dropout: float = 0.0
    classes: int = 0
    augment_dim: int = 0
    vector_dim: int = 0
    context_dim: int = 0

    def __post_init__(self) -> None:
        coarsest = 2 ** (len(self.multipliers) - 1)
        if not self.multipliers or self.size < 1 or self.size % coarsest:
            raise ValueError(f"size {self.size} must be a multiple of {coarsest} for {len(self.multipliers)} levels")
        if self.blocks < 1 or not 0 <= self.dropout < 1:
            raise ValueError(f"blocks {self.blocks} must be at least 1 and dropout {self.dropout} in [0, 1)")
        for level, channels in enumerate(self.channels):
            attends = self.size >> level in self.attention_sizes or level == len(self.multipliers) - 1
            if attends and channels % self.heads(channels):
                raise ValueError(f"{channels} channels cannot be divided among {self.heads(channels)} heads")

    @property
    def embedding_dim(self) -> int:
        """Channels of the embedding of time and conditions."""
        return 4 * self.width

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each level, from fine to coarse."""
        return tuple(int(multiplier * self.width) for multiplier in self.multipliers)

    def heads(self, channels: int) -> int:
        """Attention heads at so many channels."""
        return max(channels // self.head_dim, 1) if self.num_heads is None else self.num_heads


@dataclass(frozen=True, kw_only=True, slots=True)
class AdmPlace:
    """Where a block stands in the network.

    Args:
        level: 0 for the finest; after the block where it changes the resolution.
        number: Which of the level's blocks; -1 for one that changes the resolution.
        channels_in: Channels of its input, the skip's included.
        channels_out: Channels of its output.
        resample: What it does to the resolution.
        attends: Whether attention follows.
    """

    level: int
    number: int
    channels_in: int
    channels_out: int
    resample: Resample = Resample.KEEP
    attends: bool = False


def adm_places(config: AdmUnetConfig) -> tuple[tuple[AdmPlace, ...], tuple[AdmPlace, ...], tuple[AdmPlace, ...]]:
    """The blocks of the encoder, of the middle and of the decoder, in order of use."""
    encoder, decoder, skips = [], [], [config.channels[0]]
    channels, last = config.channels[0], len(config.channels) - 1
    for level, wanted in enumerate(config.channels):
        if level:
            encoder.append(_place(level, -1, channels, channels, resample=Resample.DOWN))
            skips.append(channels)
        for number in range(config.blocks):
            encoder.append(_place(level, number, channels, wanted, attends=_attends(config, level)))
            channels = wanted
            skips.append(channels)
    middle = (_place(last, 0, channels, channels, attends=True), _place(last, 1, channels, channels))
    for level in range(last, -1, -1):
        if level < last:
            decoder.append(_place(level, -1, channels, channels, resample=Resample.UP))
        for number in range(config.blocks + 1):
            wanted, attends = config.channels[level], _attends(config, level)
            decoder.append(_place(level, number, channels + skips.pop(), wanted, attends=attends))
            channels = wanted
    return tuple(encoder), middle, tuple(decoder)


def _place(
    level: int, number: int, channels_in: int, channels_out: int, *,
    resample: Resample = Resample.KEEP, attends: bool = False,
) -> AdmPlace:  # fmt: skip
    return AdmPlace(
        level=level, number=number, channels_in=channels_in, channels_out=channels_out, resample=resample,
        attends=attends,
    )  # fmt: skip


def _attends(config: AdmUnetConfig, level: int) -> bool:
    return config.size >> level in config.attention_sizes


class AdmAttention(nn.Module):
    """Self-attention over all positions of a feature map, with a shortcut."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = _norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = _zero(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to the same shape."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # b (h w) c
        q, k, v = (split_heads(part, self.num_heads) for part in self.qkv(tokens).chunk(3, dim=-1))
        out = self.proj(merge_heads(attend(q, k, v)))
        return x + out.transpose(1, 2).unflatten(2, x.shape[-2:])


class AdmCrossAttention(nn.Module):
    """Attention from the positions of a feature map to context tokens, with a shortcut.

    Args:
        channels: Channels of the map.
        num_heads: Attention heads.
        context_dim: Channels of a token.
    """

    def __init__(self, channels: int, num_heads: int, context_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = _norm(channels)
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(context_dim, 2 * channels)
        self.proj = _zero(nn.Linear(channels, channels))

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None, boost: Tensor | None = None) -> Tensor:
        """Looks at the context.

        Args:
            x: `(batch, channels, height, width)`.
            context: `(batch, tokens, context_dim)`.
            mask: True where a token is to be seen, `(batch, tokens)`; None for all.
            boost: As in `AdmCondition`, any size `(batch, tokens, rows, columns)`.

        Returns:
            The map's shape.
        """
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # b (h w) c
        q = split_heads(self.q(tokens), self.num_heads)
        k, v = (split_heads(part, self.num_heads) for part in self.kv(context).chunk(2, dim=-1))
        seen = None if mask is None else mask[:, None, None]
        if boost is not None:
            seen = boosted_scores(q, k, F.adaptive_avg_pool2d(boost, (x.shape[-2], x.shape[-1])).flatten(2), seen)
        out = self.proj(merge_heads(attend(q, k, v, mask=seen)))
        return x + out.transpose(1, 2).unflatten(2, x.shape[-2:])


def boosted_scores(q: Tensor, k: Tensor, boost: Tensor, mask: Tensor | None) -> Tensor:
    """What paint-with-words adds to the scores: the boost times the largest score of each head.

    Args:
        q: Queries `(batch, heads, queries, head_dim)`.
        k: Keys `(batch, heads, keys, head_dim)`.
        boost: `(batch, keys, queries)`, at least 0.
        mask: True where a key is to be seen, broadcasting to the scores; None for all.

    Returns:
        Additive bias `(batch, heads, queries, keys)` on q k / sqrt(head_dim).

    Source: arXiv:2211.01324, section 4 ("Paint-with-words"): softmax((Q K + w A) / sqrt(d)) with w in proportion to
    max(Q K). The maximum is taken for each sample and head, and counts as 0 where it is negative.
    """
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    visible = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
    top = visible.amax((-2, -1), keepdim=True).clamp(min=0.0)
    bias = top * boost.transpose(1, 2)[:, None].to(top)
    return bias if mask is None else bias.masked_fill(~mask, -torch.inf)


class AdmBlock(nn.Module):
    """BigGAN's residual block with adaptive group normalisation, then attention where the place says so.

    Args:
        place: Channels, resampling and whether attention follows.
        config: The network's.
    """

    def __init__(self, place: AdmPlace, config: AdmUnetConfig) -> None:
        super().__init__()
        self.resample = place.resample
        self.dropout = config.dropout
        channels_in, channels = place.channels_in, place.channels_out
        self.norm1 = _norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.affine = nn.Linear(config.embedding_dim, 2 * channels)
        self.norm2 = _norm(channels)
        self.conv2 = _zero(nn.Conv2d(channels, channels, 3, padding=1))
        self.shortcut = nn.Identity() if channels_in == channels else nn.Conv2d(channels_in, channels, 1)
        heads = config.heads(channels)
        self.attention = AdmAttention(channels, heads) if place.attends else None
        crosses = place.attends and config.context_dim > 0
        self.cross = AdmCrossAttention(channels, heads, config.context_dim) if crosses else None

    def forward(self, x: Tensor, embedding: Tensor, condition: AdmCondition) -> Tensor:
        """`(batch, channels_in, height, width)` and the activated embedding `(batch, 4 width)` to the block's map."""
        y = self.conv1(_resampled(F.silu(self.norm1(x)), self.resample))
        scale, shift = self.affine(embedding)[:, :, None, None].chunk(2, dim=1)
        y = F.silu(torch.addcmul(shift, self.norm2(y), scale + 1))
        y = self.conv2(F.dropout(y, self.dropout, self.training))
        x = y + self.shortcut(_resampled(x, self.resample))
        if self.attention is not None:
            x = self.attention(x)
        if self.cross is not None:
            if "context" not in condition:
                raise ValueError("this network looks at context tokens; give it a condition with `context`")
            x = self.cross(x, condition["context"], condition.get("context_mask"), condition.get("boost"))
        return x


class AdmEmbedding(nn.Module):
    """Time and conditions as one vector."""

    def __init__(self, config: AdmUnetConfig) -> None:
        super().__init__()
        self.width = config.width
        embedding = config.embedding_dim
        self.augment_embed = nn.Linear(config.augment_dim, config.width, bias=False) if config.augment_dim else None
        if self.augment_embed is not None:
            nn.init.zeros_(self.augment_embed.weight)
        self.time1 = nn.Linear(config.width, embedding)
        self.time2 = nn.Linear(embedding, embedding)
        self.class_embed = nn.Embedding(config.classes, embedding) if config.classes else None
        self.vector_embed = nn.Linear(config.vector_dim, embedding) if config.vector_dim else None

    def forward(self, time: Tensor, condition: AdmCondition) -> Tensor:
        """Times `(batch,)` and what else is told to the activated embedding `(batch, 4 width)`."""
        x = sinusoid(time, self.width).to(self.time1.weight.dtype)
        if self.augment_embed is not None and "augment" in condition:
            x = x + self.augment_embed(condition["augment"].to(x.dtype))
        x = self.time2(F.silu(self.time1(x)))
        if self.class_embed is not None and "labels" in condition:
            labels = condition["labels"]
            weighed = labels.is_floating_point()
            x = x + (labels.to(x.dtype) @ self.class_embed.weight if weighed else self.class_embed(labels))
        if self.vector_embed is not None and "vector" in condition:
            x = x + self.vector_embed(condition["vector"].to(x.dtype))
        return F.silu(x)


class AdmUnet(nn.Module):
    """The U-Net. Its first output is zero, its weights as published: uniform within 1 / sqrt(fan in)."""

    def __init__(self, config: AdmUnetConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = AdmEmbedding(config)
        encoder, middle, decoder = adm_places(config)
        self.conv_in = nn.Conv2d(config.channels_in, config.channels[0], 3, padding=1)
        self.encoder = nn.ModuleList(AdmBlock(place, config) for place in encoder)
        self.middle = nn.ModuleList(AdmBlock(place, config) for place in middle)
        self.decoder = nn.ModuleList(AdmBlock(place, config) for place in decoder)
        self.norm_out = _norm(config.channels[0])
        self.conv_out = _zero(nn.Conv2d(config.channels[0], config.channels_out, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor, condition: AdmCondition | Tensor | None = None) -> Tensor:
        """Runs the network.

        Args:
            x: Pictures `(batch, channels, size, size)`.
            time: `(batch,)`, in the unit that the network was trained with: 0 to 1000, or EDM's ln(sigma) / 4.
            condition: What it is told; a tensor stands for `labels` alone.

        Returns:
            `(batch, channels_out, size, size)`.
        """
        told: AdmCondition = {"labels": condition} if isinstance(condition, Tensor) else condition or {}
        embedding = self.embedding(time, told)
        low = told.get("low")
        x = self.conv_in(x if low is None else torch.cat((x, low.to(x)), dim=1))
        skips = [x]
        for block in self.encoder:
            x = block(x, embedding, told)
            skips.append(x)
        for block in self.middle:
            x = block(x, embedding, told)
        for block in self.decoder:
            joined = x if block.resample is Resample.UP else torch.cat((x, skips.pop()), dim=1)
            x = block(joined, embedding, told)
        return self.conv_out(F.silu(self.norm_out(x)))


def _resampled(x: Tensor, resample: Resample) -> Tensor:
    match resample:
        case Resample.DOWN:
            return F.avg_pool2d(x, 2)
        case Resample.UP:
            return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return x


def _norm(channels: int) -> nn.GroupNorm:
    """32 groups, or fewer so that each has 4 channels."""
    return nn.GroupNorm(min(32, channels // 4), channels)


def _zero(layer: Layer) -> Layer:
    """The layer with nothing in it."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


ADM_SIZES = {
    "edm-imagenet-64": AdmUnetConfig(size=64, dropout=0.1, classes=1000),
    "imagenet-64": AdmUnetConfig(size=64, channels_out=6, dropout=0.1, classes=1000),
    "imagenet-128": AdmUnetConfig(
        size=128, channels_out=6, width=256, blocks=2, multipliers=(1, 1, 2, 3, 4), num_heads=4, classes=1000
    ),
    "imagenet-256": AdmUnetConfig(
        size=256, channels_out=6, width=256, blocks=2, multipliers=(1, 1, 2, 2, 4, 4), classes=1000
    ),
    "imagenet-256-unconditional": AdmUnetConfig(
        size=256, channels_out=6, width=256, blocks=2, multipliers=(1, 1, 2, 2, 4, 4)
    ),
    "imagenet-512": AdmUnetConfig(
        size=512, channels_out=6, width=256, blocks=2, multipliers=(0.5, 1, 1, 2, 2, 4, 4), classes=1000
    ),
    "upsample-64-256": AdmUnetConfig(
        size=256, channels_in=6, channels_out=6, blocks=2, multipliers=(1, 1, 2, 2, 4, 4), num_heads=4, classes=1000
    ),
    "lsun-256": AdmUnetConfig(
        size=256, channels_out=6, width=256, blocks=2, multipliers=(1, 1, 2, 2, 4, 4), dropout=0.1
    ),
}
"""Published sizes: `train.py --arch=adm` of NVlabs/edm and the README of openai/guided-diffusion."""
