"""The modules of Segment Anything. Source: arXiv:2304.02643, section 3 and appendix A."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.errors import RequestError, WeightsError
from bottega.layers import ChannelNorm, attend, merge_heads, split_heads
from bottega.networks import ImageText, VitDet
from bottega.processes.segmentation import INSIDE, NO_POINT, OUTSIDE, PADDING, Prompts
from bottega.systems.vision.sam.config import MaskDecoderConfig, SamConfig

BOX_CORNERS = 2, 3
"""Rows of `PromptEncoder.kinds` for the top left and the bottom right corner of a box; 0 and 1 are points' labels."""


class PromptEncoder(nn.Module):
    """Prompts to tokens and to a map that is added to the picture's features."""

    frequencies: Tensor

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.config = config
        width, few = config.width, config.mask_channels // 4
        self.register_buffer("frequencies", torch.randn(2, width // 2))
        self.kinds = nn.Parameter(torch.randn(4, width))
        self.no_point = nn.Parameter(torch.randn(width))
        self.no_mask = nn.Parameter(torch.randn(width))
        self.words = None if config.words is None else nn.Linear(config.words, width)
        self.mask_layers = nn.Sequential(
            nn.Conv2d(1, few, 2, stride=2),
            ChannelNorm(few),
            nn.GELU(),
            nn.Conv2d(few, config.mask_channels, 2, stride=2),
            ChannelNorm(config.mask_channels),
            nn.GELU(),
            nn.Conv2d(config.mask_channels, width, 1),
        )

    def places(self, shares: Tensor) -> Tensor:
        """Places `(..., 2)`, as shares of the square's width and height, to waves `(..., width)`."""
        angles = (2 * shares - 1).to(self.frequencies.dtype) @ self.frequencies * (2 * math.pi)
        return torch.cat((angles.sin(), angles.cos()), dim=-1)

    def grid(self) -> Tensor:
        """The waves of the features' places, `(side * side, width)`, row by row."""
        side = self.config.encoder.side
        steps = (torch.arange(side, device=self.frequencies.device) + 0.5) / side
        return self.places(torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)).flatten(0, 1)

    def tokens(self, prompts: Prompts) -> Tensor | None:
        """Points and boxes, in pixels of the square, and words as tokens `(..., prompts, tokens, width)`, or None.

        Raises:
            RequestError: There are words, and this size reads none.
        """
        found = []
        if prompts.points is not None and prompts.labels is not None:
            points = self._points(prompts.points, prompts.labels)
            if prompts.boxes is None:
                points = torch.cat((points, self.no_point.expand(*points.shape[:-2], 1, -1)), dim=-2)
            found.append(points)
        if prompts.boxes is not None:
            corners = prompts.boxes.unflatten(-1, (2, 2))
            found.append(self.places((corners + 0.5) / self.config.size) + self.kinds[list(BOX_CORNERS)])
        if prompts.words is not None:
            if self.words is None:
                raise RequestError("this size reads no words; give a point or a box")
            found.append(self.words(prompts.words * prompts.words.shape[-1] ** 0.5)[..., None, :])
        return torch.cat(found, dim=-2) if found else None

    def _points(self, points: Tensor, labels: Tensor) -> Tensor:
        waves, labels = self.places((points + 0.5) / self.config.size), labels[..., None]
        waves = torch.where(labels == NO_POINT, self.no_point, waves)
        waves = torch.where(labels == PADDING, 0.0, waves)
        for label in (OUTSIDE, INSIDE):
            waves = torch.where(labels == label, waves + self.kinds[label], waves)
        return waves

    def map(self, masks: Tensor | None) -> Tensor:
        """Mask prompts `(..., prompts, s, s)` as what is added to the features, `(..., prompts, side * side, width)`.

        Without any: `(width,)`, which is added everywhere.
        """
        if masks is None:
            return self.no_mask
        made = self.mask_layers(masks.flatten(0, -3)[:, None])
        return made.flatten(2).transpose(1, 2).unflatten(0, masks.shape[:-2])


class CrossAttention(nn.Module):
    """Multi-head attention of some tokens over others, in fewer channels than the tokens have.

    Where few tokens meet the many of a picture, those of the picture are never projected: `gather` takes few queries
    through the keys' projection first, and `scatter` the few keys through the queries'. These are the same sums in
    another order, which cost what projecting to (heads x few) channels would.

    Args:
        width: Channels.
        num_heads: Heads.
        shrink: By how much there are fewer channels inside.
    """

    def __init__(self, width: int, num_heads: int, shrink: int = 1) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v = (nn.Linear(width, width // shrink) for _ in range(3))
        self.proj = nn.Linear(width // shrink, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries `(..., n, width)` over keys and values `(..., m, width)`."""
        parts = ((self.q, q), (self.k, k), (self.v, v))
        q, k, v = (split_heads(layer(x), self.num_heads) for layer, x in parts)
        return self.proj(merge_heads(attend(q, k, v)))

    def gather(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Few queries `(batch, prompts, n, width)` over a picture `(batch, prompts or 1, m, width)`."""
        scores = self._scores(self.q(q), self.k, k).flatten(2, 3)
        mixed = _by_prompt(scores.softmax(-1).to(v.dtype), v).unflatten(2, (self.num_heads, -1))
        values = torch.einsum("bphnw,hdw->bpnhd", mixed, self.v.weight.unflatten(0, (self.num_heads, -1)))
        return self.proj(values.flatten(-2) + self.v.bias)

    def scatter(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """A picture `(batch, prompts or 1, m, width)` over few keys and values `(batch, prompts, n, width)`."""
        shares = self._scores(self.k(k), self.q, q).softmax(-2).flatten(2, 3)
        values, weight = self.v(v).unflatten(-1, (self.num_heads, -1)), self.proj.weight
        outs = torch.einsum("bpnhd,whd->bphnw", values, weight.unflatten(1, (self.num_heads, -1)))
        return shares.to(outs.dtype).transpose(-1, -2) @ outs.flatten(2, 3) + self.proj.bias

    def _scores(self, few: Tensor, layer: nn.Linear, picture: Tensor) -> Tensor:
        """Scores of few projected tokens against a picture that a layer would project: `(batch, prompts, h, n, m)`."""
        few = few.unflatten(-1, (self.num_heads, -1))
        few = few * few.shape[-1] ** -0.5
        probes = torch.einsum("bpnhd,hdw->bphnw", few, layer.weight.unflatten(0, (self.num_heads, -1)))
        offsets = torch.einsum("bpnhd,hd->bphn", few, layer.bias.unflatten(0, (self.num_heads, -1)))
        scores = _by_prompt(probes.flatten(2, 3).to(picture.dtype), picture.transpose(-1, -2))
        return scores.unflatten(2, (self.num_heads, -1)) + offsets[..., None]


def _by_prompt(rows: Tensor, picture: Tensor) -> Tensor:
    """Products of `(batch, prompts, k, a)` with what may be one and the same for all prompts, `(batch, 1, a, b)`."""
    if picture.shape[1] == rows.shape[1]:
        return rows @ picture
    return (rows.flatten(1, 2) @ picture[:, 0]).unflatten(1, rows.shape[1:3])


class TwoWayBlock(nn.Module):
    """Tokens among themselves, tokens over the picture, an MLP on tokens, the picture over tokens; post-normalised.

    Args:
        width: Channels.
        config: The decoder.
        first: Whether it is the first block, whose tokens are still their own positions.
    """

    def __init__(self, width: int, config: MaskDecoderConfig, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.among_tokens = CrossAttention(width, config.num_heads)
        self.over_picture = CrossAttention(width, config.num_heads, config.shrink)
        self.over_tokens = CrossAttention(width, config.num_heads, config.shrink)
        self.fc1, self.fc2 = nn.Linear(width, config.hidden), nn.Linear(config.hidden, width)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(width, eps=config.eps) for _ in range(4))

    def forward(self, tokens: Tensor, picture: Tensor, token_places: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens `(..., n, width)` and the picture's features `(..., m, width)` to the same, each knowing the other."""
        if self.first:
            tokens = self.among_tokens(tokens, tokens, tokens)
        else:
            placed = tokens + token_places
            tokens = tokens + self.among_tokens(placed, placed, tokens)
        tokens = self.norm1(tokens)
        placed_picture = picture + grid
        tokens = self.norm2(tokens + self.over_picture.gather(tokens + token_places, placed_picture, picture))
        tokens = self.norm3(tokens + self.fc2(F.relu(self.fc1(tokens))))
        return tokens, self.norm4(picture + self.over_tokens.scatter(placed_picture, tokens + token_places, tokens))


class Layers(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(channels, channels[1:], strict=False))

    def forward(self, x: Tensor) -> Tensor:
        """`(..., channels[0])` to `(..., channels[-1])`."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class MaskDecoder(nn.Module):
    """Features of a picture and tokens of prompts to logits of masks and their scores."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.config = config
        width, decoder = config.width, config.decoder
        self.score_token = nn.Parameter(torch.randn(width))
        self.mask_tokens = nn.Parameter(torch.randn(decoder.answers + 1, width))
        self.blocks = nn.ModuleList(TwoWayBlock(width, decoder, first=i == 0) for i in range(decoder.depth))
        self.over_picture = CrossAttention(width, decoder.num_heads, decoder.shrink)
        self.norm_out = nn.LayerNorm(width, eps=1e-5)
        self.upscale = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, stride=2),
            ChannelNorm(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, stride=2),
            nn.GELU(),
        )
        self.mask_layers = nn.ModuleList(Layers((width, width, width, width // 8)) for _ in range(decoder.answers + 1))
        hidden = (decoder.score_hidden,) * (decoder.score_depth - 1)
        self.score_layers = Layers((width, *hidden, decoder.answers + 1))

    def forward(self, features: Tensor, grid: Tensor, tokens: Tensor | None) -> tuple[Tensor, Tensor]:
        """Answers to prompts.

        Args:
            features: `(batch, prompts or 1, side * side, width)`, with what the mask prompts add.
            grid: Waves of their places, `(side * side, width)`.
            tokens: The prompts', `(batch, prompts, tokens, width)`; None where prompts are masks alone.

        Returns:
            Logits `(batch, prompts, 1 + answers, s, s)` and scores `(batch, prompts, 1 + answers)`; the first mask is
            the single answer.
        """
        lead = features.shape[:2] if tokens is None else tokens.shape[:2]
        own = torch.cat((self.score_token[None], self.mask_tokens)).expand(*lead, -1, -1)
        places = own if tokens is None else torch.cat((own, tokens.to(own.dtype)), dim=2)
        states, picture = places, features
        for block in self.blocks:
            states, picture = block(states, picture, places, grid)
        states = self.norm_out(states + self.over_picture.gather(states + places, picture + grid, picture))
        kernels = torch.stack([layers(states[:, :, 1 + i]) for i, layers in enumerate(self.mask_layers)], dim=2)
        side = self.config.encoder.side
        fine = self.upscale(picture.flatten(0, 1).unflatten(1, (side, side)).movedim(-1, 1))  # channels stay innermost
        logits = fine.movedim(1, -1).flatten(1, 2).unflatten(0, lead) @ kernels.transpose(-1, -2)
        return logits.transpose(-1, -2).unflatten(-1, fine.shape[-2:]), self.score_layers(states[:, :, 0])


class Sam(nn.Module):
    """The whole model."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = VitDet(config.encoder)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)
        self._reader: ImageText | None = None

    def connect(self, reader: ImageText) -> None:
        """Takes what gives pictures and words features.

        Raises:
            RequestError: Its features have other channels than this size was made for.
        """
        if self.config.words not in (None, reader.width):
            raise RequestError.of(
                "reader", self.config.reader, f"one with {self.config.words} features, not {reader.width}"
            )
        self._reader = reader

    @property
    def reader(self) -> ImageText:
        """What gives pictures and words features.

        Raises:
            RequestError: This size reads no words.
            WeightsError: None was connected.
        """
        if self.config.words is None:
            raise RequestError("this size reads no words; give a point or a box instead of text")
        if self._reader is None:
            raise WeightsError("no reader of words is connected; load the system through bottega.load")
        return self._reader

    def encode(self, pictures: Tensor) -> Tensor:
        """Normalised square pictures `(batch, 3, size, size)` to features `(batch, width, side, side)`."""
        return self.image_encoder(pictures)

    def decode(self, features: Tensor, prompts: Prompts, grid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All masks and scores.

        Args:
            features: `(batch, width, side, side)`.
            prompts: With leading sizes `(batch, prompts)`, in pixels of the square.
            grid: What `prompt_encoder.grid()` says, where it is known already.

        Returns:
            Logits `(batch, prompts, 1 + answers, s, s)` and scores `(batch, prompts, 1 + answers)`: first the single
            answer, then the several.
        """
        picture = features.flatten(2).transpose(1, 2)[:, None] + self.prompt_encoder.map(prompts.masks)
        grid = self.prompt_encoder.grid() if grid is None else grid
        return self.mask_decoder(picture, grid, self.prompt_encoder.tokens(prompts))

    def forward(self, pictures: Tensor, prompts: Prompts, *, multimask: bool = True) -> tuple[Tensor, Tensor]:
        """Pictures and prompts to logits `(batch, prompts, answers or 1, s, s)` and scores."""
        logits, scores = self.decode(self.encode(pictures), prompts)
        return answers(logits, scores, multimask=multimask)


def answers(logits: Tensor, scores: Tensor, *, multimask: bool) -> tuple[Tensor, Tensor]:
    """Of all masks and scores the several answers, or the single one."""
    chosen = slice(1, None) if multimask else slice(0, 1)
    return logits[:, :, chosen], scores[:, :, chosen]
