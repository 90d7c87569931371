"""The modules of EVA and EVA-CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.errors import WeightsError
from bottega.layers import PreNormBlock
from bottega.networks import ClipText, ClipVision, Eva, EvaConfig, ImageText, clip_normalise
from bottega.systems.vision.eva.config import ClipConfig, DecoderConfig, EvaRoomConfig, MaskedConfig, Target
from bottega.tokenizers import BpeTokenizer

START_SCALE = 2.6593
"""Logarithm of the published first factor on similarities, 1 / 0.07."""


class MaskedHead(nn.Module):
    """The token that stands for a hidden patch, and the linear map to what the patch must be told as.

    Source: arXiv:2211.07636, section 2.2.
    """

    def __init__(self, config: MaskedConfig, tower: EvaConfig) -> None:
        super().__init__()
        pixels = 3 * tower.patch_size**2
        self.mask_token = nn.Parameter(torch.empty(tower.width))
        self.head = nn.Linear(tower.width, pixels if config.target is Target.PIXELS else config.features)
        for weight in (self.mask_token, self.head.weight):
            nn.init.trunc_normal_(weight, std=tower.init_std)
        nn.init.zeros_(self.head.bias)

    def forward(self, tower: Eva, picture: Tensor, mask: Tensor) -> Tensor:
        """What the tower tells of every patch when some are hidden.

        Args:
            tower: The transformer.
            picture: `(batch, 3, size, size)`, normalised.
            mask: bool `(batch, patches)`, True where a patch is hidden.

        Returns:
            `(batch, patches, features)`.
        """
        return self.head(tower(picture, hidden=(mask, self.mask_token))[:, 1:])


class MaskedDecoder(nn.Module):
    """The small transformer that fills in what the tower was not shown (EVA-L).

    Source: arXiv:2111.06377, section 3; sizes from the authors' `modeling_mae_pretrain.py`.
    """

    def __init__(self, config: DecoderConfig, tower: EvaConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(tower.width, config.width)
        self.mask_token = nn.Parameter(torch.zeros(config.width))
        self.register_buffer("pos_embed", grid_waves(config.width, tower.side))
        self.blocks = nn.ModuleList(
            PreNormBlock(config.width, config.num_heads, eps=tower.eps) for _ in range(config.depth)
        )
        self.norm_out = nn.LayerNorm(config.width, eps=tower.eps)
        self.head = nn.Linear(config.width, config.features)

    def forward(self, tower: Eva, picture: Tensor, mask: Tensor) -> Tensor:
        """As `MaskedHead.forward`; every picture must have as many hidden patches as the others."""
        shown = (~mask).nonzero()[:, 1].view(len(mask), -1)
        states = self.embed(tower(picture, kept=shown))
        grid = self.mask_token.to(states.dtype).expand(*mask.shape, -1)
        grid = grid.scatter(1, shown[..., None].expand(-1, -1, states.shape[-1]), states[:, 1:])
        x = torch.cat((states[:, :1], grid), dim=1) + self.get_buffer("pos_embed").to(states.dtype)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm_out(x))[:, 1:]


def grid_waves(width: int, side: int) -> Tensor:
    """Fixed positions of a class token (0) and of a square grid, `(1 + side ** 2, width)`.

    The first half of the channels are sines and cosines of the column, the second half of the row.

    Source: arXiv:2111.06377, appendix A.1, in the order of the authors' code.
    """
    quarter = width // 4
    rates = 10_000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = torch.arange(side, dtype=torch.float64)[:, None] * rates
    waves = torch.cat((angles.sin(), angles.cos()), dim=1)
    columns, rows = waves.repeat(side, 1), waves.repeat_interleave(side, dim=0)
    return F.pad(torch.cat((columns, rows), dim=1), (0, 0, 1, 0)).float()


class EvaClip(nn.Module):
    """What joins a tower with texts: projections into one space, the text tower, and the scale of similarities."""

    def __init__(self, config: ClipConfig, tower: EvaConfig) -> None:
        super().__init__()
        self.projection = nn.Linear(tower.width, config.embedding)
        self.text = ClipText(config.text)
        self.text_projection = nn.Linear(config.text.width, config.embedding, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(START_SCALE))
        nn.init.trunc_normal_(self.projection.weight, std=0.02)
        nn.init.zeros_(self.projection.bias)
        nn.init.normal_(self.text_projection.weight, std=config.text.width**-0.5)

    def read(self, tokens: Tensor) -> Tensor:
        """Token ids `(batch, tokens)` to embeddings `(batch, embedding)`."""
        return self.text_projection(self.text.pool(self.text(tokens), tokens))


class EvaRoom(nn.Module):
    """A tower with what its size has besides: masked pre-training, texts, a teacher."""

    def __init__(self, config: EvaRoomConfig) -> None:
        super().__init__()
        self.config = config
        self.tower = Eva(config.tower)
        match config.masked:
            case MaskedConfig() as masked:
                self.student: MaskedHead | MaskedDecoder | None = MaskedHead(masked, config.tower)
            case DecoderConfig() as masked:
                self.student = MaskedDecoder(masked, config.tower)
                with torch.no_grad():
                    self.tower.pos_embed.copy_(grid_waves(config.tower.width, config.tower.side))
                self.tower.pos_embed.requires_grad_(False)  # fixed, as published
            case None:
                self.student = None
        self.clip = None if config.clip is None else EvaClip(config.clip, config.tower)
        self.teacher = None if config.teacher is None else ClipVision(config.teacher)
        self.tokenizer: BpeTokenizer | None = None

    def attach(self, assets: Mapping[str, str]) -> None:
        """Puts a checkpoint's tokenizer onto the model: `tokenizer`, a JSON text."""
        if "tokenizer" in assets:
            self.tokenizer = BpeTokenizer.from_json(assets["tokenizer"])

    def assets(self) -> dict[str, str]:
        """The tokenizer as `attach` takes it; empty for a model without one."""
        return {} if self.tokenizer is None else {"tokenizer": self.tokenizer.to_json()}

    def joined(self) -> EvaClip:
        """What joins pictures and texts.

        Raises:
            WeightsError: This size is a tower alone.
        """
        if self.clip is None:
            raise WeightsError("this size reads pictures alone; take one with texts, such as tiny or clip-g")
        return self.clip

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Texts to ids `(texts, context)`, on the model's device.

        Raises:
            WeightsError: The weights came without a tokenizer.
        """
        clip = self.joined()
        if self.tokenizer is None:
            raise WeightsError("these weights came without a tokenizer; put its vocab.json and merges.txt beside them")
        return self.tokenizer.batch(texts, clip.text.config.context).to(clip.log_scale.device)

    def picture_features(self, pictures: Tensor) -> Tensor:
        """Pictures `(batch, 3, height, width)` in [-1, 1], of any size, to features of length 1.

        Returns:
            `(batch, embedding)`; `(batch, width)`, the mean of the patches, where the size has no texts.
        """
        states = self.tower(clip_normalise(sized(pictures, self.config.tower.size)).to(self.tower.pos_embed.dtype))
        if self.clip is None:
            return F.normalize(states[:, 1:].mean(1), dim=-1)
        return F.normalize(self.clip.projection(states[:, 0]), dim=-1)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Sentences to features of length 1, `(texts, embedding)`."""
        tokens, clip = self.tokenize(texts), self.joined()
        longest = int((tokens == clip.text.config.end_token).int().argmax(dim=1).max()) + 1
        return F.normalize(clip.read(tokens[:, :longest]), dim=-1)  # what follows the end is never looked at

    def image_text(self) -> ImageText:
        """The model as other rooms take it."""
        clip = self.joined()
        return ImageText(
            pictures=self.picture_features,
            texts=self.text_features,
            width=clip.text_projection.out_features,
            size=self.config.tower.size,
            scale=clip.log_scale.detach().exp(),
        )


def sized(pictures: Tensor, size: int) -> Tensor:
    """Pictures `(batch, 3, height, width)` stretched to squares, smoothed where they shrink."""
    if pictures.shape[-2:] == (size, size):
        return pictures
    made = F.interpolate(pictures.float(), (size, size), mode="bicubic", antialias=True, align_corners=False)
    return made.clamp(-1, 1)
