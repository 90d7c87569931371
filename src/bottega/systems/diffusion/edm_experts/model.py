"""The modules of eDiff-I: encoders, U-Nets that look at them, and the experts that share the noise levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import exp
from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.errors import WeightsError
from bottega.networks import (
    AdmBlock,
    AdmCondition,
    AdmEmbedding,
    AdmPlace,
    AdmUnet,
    AdmUnetConfig,
    ClipText,
    ClipVision,
    T5Encoder,
    clip_normalise,
)
from bottega.processes.diffusion import EdmPreconditioned
from bottega.systems.diffusion.edm_experts.config import EdmExpertsConfig, EfficientUnetConfig, StageConfig
from bottega.tokenizers import BpeTokenizer

Told = Mapping[str, Tensor]
"""What the U-Nets are told, as `Encoders.told` makes it; mappings, so that guidance can join two."""


class Encoders(nn.Module):
    """The text encoders and the picture tower, frozen while the cascade learns."""

    def __init__(self, config: EdmExpertsConfig) -> None:
        super().__init__()
        self.t5 = T5Encoder(config.t5)
        self.clip_text = ClipText(config.clip_text)
        self.clip_vision = ClipVision(config.clip_vision)
        self.text_projection = nn.Linear(config.clip_text.width, config.clip_vision.embedding, bias=False)

    def read(self, clip_tokens: Tensor, t5_tokens: Tensor) -> dict[str, Tensor]:
        """Token ids `(batch, context)` and `(batch, t5_tokens)` to what the U-Nets are told, without a style."""
        end = self.clip_text.config.end_token
        seen = [(tokens == end).cumsum(1) - (tokens == end).long() == 0 for tokens in (clip_tokens, t5_tokens)]
        states = self.clip_text(clip_tokens)
        pooled = F.normalize(self.text_projection(self.clip_text.pool(states, clip_tokens)), dim=-1)
        return {
            "clip": states,
            "clip_pool": pooled * pooled.shape[-1] ** 0.5,
            "t5": self.t5(t5_tokens, seen[1]),
            "mask": torch.cat(seen, dim=1),
            "style": torch.zeros_like(pooled),
        }

    def style(self, pictures: Tensor) -> Tensor:
        """Pictures `(batch, 3, any, any)` in [-1, 1] to style embeddings `(batch, embedding)` of unit deviation."""
        side = self.clip_vision.config.size
        if pictures.shape[-2:] != (side, side):
            pictures = F.interpolate(pictures, size=(side, side), mode="bilinear", antialias=True)
        embedding = F.normalize(self.clip_vision(clip_normalise(pictures)), dim=-1)
        return embedding * embedding.shape[-1] ** 0.5


def kept(told: Told, keep: Tensor) -> dict[str, Tensor]:
    """What is told with some of it left out: zeros, which no pixel looks at.

    Args:
        told: As `Encoders.read` makes it.
        keep: True where CLIP's text, T5's text and the style are told, `(batch, 3)`.
    """
    clip, t5, style = keep.to(told["clip"].device).unbind(1)
    words = told["clip"].shape[1]
    left, right = told["mask"][:, :words], told["mask"][:, words:]
    return {
        **told,
        "clip": told["clip"] * clip[:, None, None],
        "clip_pool": told["clip_pool"] * clip[:, None],
        "t5": told["t5"] * t5[:, None, None],
        "mask": torch.cat((left & clip[:, None], right & t5[:, None]), dim=1),
        "style": told["style"] * style[:, None],
    }


class EfficientUnet(nn.Module):
    """Imagen's U-Net for super-resolution, with ADM's blocks: strided down before a level's blocks, up after them."""

    def __init__(self, config: EfficientUnetConfig, parts: AdmUnetConfig) -> None:
        super().__init__()
        channels, last = [m * config.width for m in config.multipliers], len(config.blocks) - 1

        def blocks(level: int, channels_in: int) -> nn.ModuleList:
            attends = config.size >> level in config.attention_sizes
            sizes = [channels_in] + [channels[level]] * (config.blocks[level] - 1)
            places = [
                AdmPlace(level=level, number=i, channels_in=c, channels_out=channels[level], attends=attends)
                for i, c in enumerate(sizes)
            ]
            return nn.ModuleList(AdmBlock(place, parts) for place in places)

        self.embedding = AdmEmbedding(parts)
        self.conv_in = nn.Conv2d(config.channels_in, channels[0], 3, padding=1)
        pairs = list(pairwise(channels))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.encoder = nn.ModuleList(blocks(level, channels[level]) for level in range(last + 1))
        self.decoder = nn.ModuleList(
            blocks(level, channels[level] * (1 if level == last else 2)) for level in range(last, -1, -1)
        )
        self.up = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in reversed(pairs))
        self.norm_out = nn.GroupNorm(min(32, channels[0] // 4), channels[0])
        self.conv_out = nn.Conv2d(channels[0], config.channels_out, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor, time: Tensor, condition: AdmCondition) -> Tensor:
        """As `AdmUnet`; `condition` holds the enlarged coarse picture as `low`."""
        embedding = self.embedding(time, condition)
        x = self.conv_in(torch.cat((x, condition.get("low", x).to(x)), dim=1))
        skips = []
        for level, blocks in enumerate(self.encoder):
            x = x if level == 0 else self.down[level - 1](x)
            x = _through(blocks, x, embedding, condition)
            skips.append(x)
        skips.pop()
        for number, blocks in enumerate(self.decoder):
            if number:
                x = self.up[number - 1](F.interpolate(x, scale_factor=2.0, mode="nearest"))
                x = torch.cat((x, skips.pop() * 0.5**0.5), dim=1)
            x = _through(blocks, x, embedding, condition)
        return self.conv_out(F.silu(self.norm_out(x)))


def _through(blocks: nn.Module, x: Tensor, embedding: Tensor, condition: AdmCondition) -> Tensor:
    for block in blocks.children():
        x = block(x, embedding, condition)
    return x


class ToldUnet(nn.Module):
    """A U-Net that looks at the states of both texts and at a style, each through a projection of its own.

    One more token is always there to look at when nothing else helps.

    Source: arXiv:2211.01324, appendix B.
    """

    def __init__(self, stage: StageConfig, config: EdmExpertsConfig) -> None:
        super().__init__()
        width, pool = config.context_dim, config.clip_vision.embedding
        self.from_clip = nn.Linear(config.clip_text.width, width)
        self.from_t5 = nn.Linear(config.t5.width, width)
        self.from_style = nn.Linear(pool, width)
        self.nothing = nn.Parameter(0.02 * torch.randn(width))
        match stage.unet:
            case AdmUnetConfig() as unet:
                self.unet = AdmUnet(replace(unet, context_dim=width, vector_dim=2 * pool))
            case EfficientUnetConfig() as unet:
                self.unet = EfficientUnet(unet, _parts(unet, width, 2 * pool))

    def forward(self, x: Tensor, time: Tensor, told: Told) -> Tensor:
        """`(batch, 3, size, size)` with c_noise `(batch,)` to the same shape."""
        style = self.from_style(told["style"])[:, None]
        front = (self.nothing.to(style).expand(len(style), 1, -1), style)
        condition: AdmCondition = {
            "context": torch.cat((*front, self.from_clip(told["clip"]), self.from_t5(told["t5"])), dim=1),
            "context_mask": F.pad(told["mask"], (2, 0), value=True),
            "vector": torch.cat((told["clip_pool"], told["style"]), dim=1),
        }
        if "boost" in told:
            condition["boost"] = F.pad(told["boost"], (0, 0, 0, 0, 2, 0))
        if "low" in told:
            condition["low"], condition["augment"] = told["low"], told["augment"]
        return self.unet(x, time, condition)


def _parts(unet: EfficientUnetConfig, context_dim: int, vector_dim: int) -> AdmUnetConfig:
    """What ADM's blocks need to know inside an Efficient U-Net."""
    return AdmUnetConfig(
        size=unet.size, width=unet.width, multipliers=tuple(unet.multipliers), attention_sizes=unet.attention_sizes,
        head_dim=unet.head_dim, augment_dim=unet.augment_dim, context_dim=context_dim, vector_dim=vector_dim,
    )  # fmt: skip


class Experts(nn.Module):
    """One model of the cascade as a network that predicts x0: each noise level goes to the expert that has it.

    The members are the experts of `stage.experts` in order, and last the one for all other noise levels.
    """

    def __init__(self, stage: StageConfig, config: EdmExpertsConfig) -> None:
        super().__init__()
        self.stage = stage
        self.members = nn.ModuleList(
            EdmPreconditioned(ToldUnet(stage, config), config.sigma_data) for _ in range(len(stage.experts) + 1)
        )
        self.edges, self.owners = noise_map(stage)

    def owner(self, sigma: Tensor) -> Tensor:
        """The number of the member for each noise level `(batch,)`."""
        edges = torch.tensor(self.edges, dtype=torch.float64, device=sigma.device)
        place = torch.bucketize(sigma.double(), edges, right=True)
        return torch.tensor(self.owners, device=sigma.device)[place]

    def forward(self, x_t: Tensor, sigma: Tensor, told: Told) -> Tensor:
        """The denoised pictures `(batch, 3, size, size)` at noise levels `(batch,)`.

        `boost` in `told` is paint-with-words without its noise level: it is multiplied by log(1 + sigma) here.
        """
        if "boost" in told:
            told = {**told, "boost": told["boost"] * sigma.log1p().to(told["boost"])[:, None, None, None]}
        if len(self.members) == 1:
            return self.members[0](x_t, sigma, told)
        owner = self.owner(sigma)
        members = owner.unique().tolist()
        if len(members) == 1:
            return self.members[members[0]](x_t, sigma, told)
        made = torch.empty_like(x_t, dtype=torch.promote_types(x_t.dtype, torch.float32))
        for member in members:
            rows = owner == member
            part = {name: value[rows] for name, value in told.items()}
            made[rows] = self.members[member](x_t[rows], sigma[rows], part).to(made)
        return made

    @torch.no_grad()
    def split(self) -> None:
        """Gives every expert the last member's weights: the ensemble is then that one network, bit for bit."""
        parent = self.members[-1].state_dict()
        for member in self.members[:-1]:
            member.load_state_dict(parent)


def noise_map(stage: StageConfig) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """The noise levels at which the expert changes, rising, and the member below, between and above them."""
    density, rest = NormalDist(stage.log_sigma_mean, stage.log_sigma_std), len(stage.experts)
    places = sorted({place for node in stage.experts for place in node.interval} | {0.0, 1.0})
    owners = []
    for low, high in pairwise(places):
        middle = (low + high) / 2
        inside = [i for i, node in enumerate(stage.experts) if node.interval[0] < middle < node.interval[1]]
        owners.append(inside[0] if inside else rest)
    edges = tuple(exp(density.inv_cdf(place)) for place in places[1:-1])
    return edges, tuple(owners)


class EdmExperts(nn.Module):
    """The whole pipeline: encoders, the base model, and models that enlarge its pictures."""

    def __init__(self, config: EdmExpertsConfig) -> None:
        super().__init__()
        self.config = config
        self.encoders = Encoders(config)
        self.base = Experts(config.base, config)
        self.upscalers = nn.ModuleList(Experts(stage, config) for stage in config.upscalers)
        self.tokenizer: BpeTokenizer | None = None

    def attach(self, assets: Mapping[str, str]) -> None:
        """Puts the tokenizer of a checkpoint onto the model, where there is one."""
        if "tokenizer" in assets:
            self.tokenizer = BpeTokenizer.from_json(assets["tokenizer"])

    def assets(self) -> dict[str, str]:
        """The tokenizer as JSON text: what `attach` takes."""
        return {} if self.tokenizer is None else {"tokenizer": self.tokenizer.to_json()}

    def words(self) -> BpeTokenizer:
        """The tokenizer.

        Raises:
            WeightsError: The weights came without one.
        """
        if self.tokenizer is None:
            raise WeightsError("these weights have no tokenizer; load a checkpoint that carries one to use texts")
        return self.tokenizer

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts to ids for CLIP's tower and for T5, on the CPU."""
        words = self.words()
        return words.batch(texts, self.config.clip_text.context), words.batch(texts, self.config.t5_tokens)

    def told(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Texts to what the U-Nets are told, without a style."""
        device = self.encoders.text_projection.weight.device
        return self.encoders.read(*(tokens.to(device) for tokens in self.tokenize(texts)))

    def nothing(self) -> dict[str, Tensor]:
        """What says nothing, one row."""
        config, like = self.config, self.encoders.text_projection.weight
        pool, words = config.clip_vision.embedding, config.clip_text.context
        return {
            "clip": like.new_zeros(1, words, config.clip_text.width),
            "clip_pool": like.new_zeros(1, pool),
            "t5": like.new_zeros(1, config.t5_tokens, config.t5.width),
            "mask": torch.zeros(1, words + config.t5_tokens, dtype=torch.bool, device=like.device),
            "style": like.new_zeros(1, pool),
        }
