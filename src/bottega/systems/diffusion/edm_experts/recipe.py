"""How eDiff-I learns: two readers of texts, a shared base model, its experts, and the models that enlarge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.data import CaptionedPicture, Crop, Source, fit_picture, pictures_to_tensor
from bottega.networks import clip_normalise, contrastive_loss
from bottega.processes.diffusion import EdmTimes, noise_like
from bottega.room import Stage
from bottega.systems.diffusion.edm_experts.config import EfficientUnetConfig
from bottega.systems.diffusion.edm_experts.model import EdmExperts, kept
from bottega.systems.diffusion.edm_experts.objective import LOUDEST, edm_loss, fill_in_loss, growing_times, told_coarse
from bottega.tokenizers import BpeTokenizer
from bottega.training import Cosine, FitSettings, Optimizer, TrainState, decay_groups, descend
from bottega.worlds import Sample

KEEP = (0.75, 0.75, 0.2)
"""How often CLIP's text, T5's text and the style are told, each by its own coin."""
HIDDEN = 0.25
"""Share of words that the T5-like reader fills in."""


Pictures = Source[CaptionedPicture | Sample]
"""A folder of the user's, or a world."""


@dataclass(frozen=True, slots=True)
class Captions:
    """A batch.

    Args:
        pictures: `(batch, 3, size, size)` in [-1, 1].
        clip_tokens: Ids for CLIP's tower.
        t5_tokens: Ids for T5.
        keep: What is told, `(batch, 3)`; see `KEEP`.
        hidden: Words to fill in, True `(batch, t5_tokens)`.
    """

    pictures: Tensor
    clip_tokens: Tensor
    t5_tokens: Tensor
    keep: Tensor
    hidden: Tensor


class Loader:
    """Batches of captioned pictures of one size for a pipeline."""

    def __init__(self, pipeline: EdmExperts, source: Pictures, size: int) -> None:
        self.pipeline, self.source, self.size = pipeline, source, size
        if pipeline.tokenizer is None:
            texts = [source.sample(index).caption for index in range(min(1000, len(source)))]
            pipeline.tokenizer = BpeTokenizer.trained(texts, pipeline.config.t5.vocabulary - 1)

    def load(self, indices: Sequence[int], generator: torch.Generator) -> Captions:
        """The batch at these indices."""
        samples = [self.source.sample(index) for index in indices]
        squares = np.stack([fit_picture(sample.picture, self.size, how=Crop()) for sample in samples])
        pictures = pictures_to_tensor(squares)
        clip_tokens, t5_tokens = self.pipeline.tokenize([sample.caption for sample in samples])
        keep = torch.rand(len(samples), 3, generator=generator) < torch.tensor(KEEP)
        hidden = (torch.rand(t5_tokens.shape, generator=generator) < HIDDEN) & (t5_tokens > 1)
        return Captions(pictures, clip_tokens, t5_tokens, keep, hidden)


class Readers(nn.Module):
    """What the first stage trains: CLIP's towers on pairs, and T5 on texts alone."""

    def __init__(self, pipeline: EdmExperts) -> None:
        super().__init__()
        self.encoders = pipeline.encoders
        self.log_scale = nn.Parameter(torch.tensor(2.6593))  # the published start: a factor of 14.3

    def forward(self, batch: Captions) -> dict[str, Tensor]:
        """The losses of a batch."""
        encoders = self.encoders
        told = encoders.read(batch.clip_tokens, batch.t5_tokens)
        pictures = encoders.clip_vision(clip_normalise(batch.pictures))
        match = contrastive_loss(told["clip_pool"], pictures, self.log_scale)
        blank = encoders.t5.config.vocabulary - 1  # an id that the tokenizer does not use
        seen = told["mask"][:, batch.clip_tokens.shape[1] :]
        states = encoders.t5(batch.t5_tokens.masked_fill(batch.hidden, blank), seen)
        fill = fill_in_loss(states, encoders.t5.token_embed.weight, batch.t5_tokens, batch.hidden)
        return {"loss": match + fill, "match": match, "fill": fill}


class ReadersRecipe:
    """Stage 1: texts and pictures into one space, and words from the words around them."""

    def __init__(self, pipeline: EdmExperts, source: Pictures) -> None:
        self.loader = Loader(pipeline, source, pipeline.config.clip_vision.size)
        self.model = Readers(pipeline)

    def __len__(self) -> int:
        return len(self.loader.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Captions:
        """Pictures with their tokens."""
        return self.loader.load(indices, generator)

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay, vectors and embeddings without."""
        return decay_groups(self.model, settings, lambda name, _: "embed" in name)

    def step(self, state: TrainState, batch: Captions) -> Mapping[str, float | Tensor]:
        """One update of both readers."""
        return descend(state, batch, self.model)


class BaseRecipe:
    """Stage 2: one network for all noise levels; then every expert starts from it."""

    def __init__(self, pipeline: EdmExperts, source: Pictures) -> None:
        self.pipeline, self.model = pipeline, pipeline.base.members[-1]
        self.loader = Loader(pipeline, source, pipeline.config.base.unet.size)
        stage = pipeline.config.base
        self.times = EdmTimes(mean=stage.log_sigma_mean, std=stage.log_sigma_std)

    def __len__(self) -> int:
        return len(self.loader.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Captions:
        """Pictures with their tokens and what of them is told."""
        return self.loader.load(indices, generator)

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices and kernels with decay, vectors without."""
        return decay_groups(self.model, settings)

    def step(self, state: TrainState, batch: Captions) -> Mapping[str, float | Tensor]:
        """One update of the shared network."""

        def loss(part: Captions) -> Tensor:
            told, data = heard(self.pipeline, part), self.pipeline.config.sigma_data
            return edm_loss(self.model, part.pictures, told, self.times, data, state.generator).mean()

        return descend(state, batch, loss)

    def finish(self) -> None:
        """Splits the network into its experts."""
        self.pipeline.base.split()


class ExpertsRecipe:
    """Stage 3: each expert down its branch of the tree to its own noise levels, with an equal share of every batch.

    Args:
        pipeline: Its base model is trained; the encoders are used as they are.
        source: Pictures with words.
    """

    def __init__(self, pipeline: EdmExperts, source: Pictures) -> None:
        self.pipeline, self.model = pipeline, pipeline.base
        self.loader = Loader(pipeline, source, pipeline.config.base.unet.size)

    def __len__(self) -> int:
        return len(self.loader.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Captions:
        """As in stage 2."""
        return self.loader.load(indices, generator)

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """As in stage 2, of all experts."""
        return decay_groups(self.model, settings)

    def step(self, state: TrainState, batch: Captions) -> Mapping[str, float | Tensor]:
        """One update of every expert."""
        data, members = self.pipeline.config.sigma_data, list(self.model.members)
        drawn = growing_times(self.pipeline.config.base, state.step / state.settings.steps)

        def loss(part: Captions) -> dict[str, Tensor]:
            told, parts = heard(self.pipeline, part), torch.arange(len(part.pictures)).tensor_split(len(members))
            losses = {}
            for number, (member, rows, times) in enumerate(zip(members, parts, drawn, strict=True)):
                own = {name: value[rows] for name, value in told.items()}
                error = edm_loss(member, part.pictures[rows], own, times, data, state.generator)
                losses[f"expert_{number}"] = error.mean()
            return {"loss": torch.stack(list(losses.values())).mean(), **losses}

        return descend(state, batch, loss)


class UpscaleRecipe:
    """Stage 4: each model that enlarges, on coarse pictures with noise.

    Args:
        pipeline: Its models that enlarge are trained; the encoders are used as they are.
        source: Pictures with words.
    """

    def __init__(self, pipeline: EdmExperts, source: Pictures) -> None:
        self.pipeline, self.model = pipeline, pipeline.upscalers
        stages = (pipeline.config.base, *pipeline.config.upscalers)
        self.sizes = [stage.unet.size for stage in stages]
        self.loader = Loader(pipeline, source, self.sizes[-1])

    def __len__(self) -> int:
        return len(self.loader.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Captions:
        """Pictures of the largest size."""
        return self.loader.load(indices, generator)

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """As in stage 2, of all models that enlarge."""
        return decay_groups(self.model, settings)

    def step(self, state: TrainState, batch: Captions) -> Mapping[str, float | Tensor]:
        """One update of every model that enlarges."""

        def loss(part: Captions) -> Tensor:
            told = heard(self.pipeline, part)
            errors = [self._error(number, part, told, state.generator) for number in range(len(self.model))]
            return torch.stack(errors).mean()

        return descend(state, batch, loss)

    def _error(self, number: int, batch: Captions, told: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        stage, data = self.pipeline.config.upscalers[number], self.pipeline.config.sigma_data
        if not isinstance(stage.unet, EfficientUnetConfig):
            raise TypeError(f"a model that enlarges has an Efficient U-Net, not a {type(stage.unet).__name__}")
        coarse, fine = (_shrunk(batch.pictures, self.sizes[number + i]) for i in (0, 1))
        device = generator.device
        level = LOUDEST * torch.rand(len(fine), generator=generator, device=device).to(fine.device)
        told = told_coarse(told, coarse, noise_like(coarse, generator), level, stage.unet)
        times = EdmTimes(mean=stage.log_sigma_mean, std=stage.log_sigma_std)
        return edm_loss(self.model[number], fine, told, times, data, generator).mean()


@torch.no_grad()
def heard(pipeline: EdmExperts, batch: Captions) -> dict[str, Tensor]:
    """What the words and the picture's own style say, with some of it left out."""
    told = pipeline.encoders.read(batch.clip_tokens, batch.t5_tokens)
    told["style"] = pipeline.encoders.style(batch.pictures)
    return kept(told, batch.keep)


def _shrunk(pictures: Tensor, size: int) -> Tensor:
    return pictures if pictures.shape[-1] == size else F.interpolate(pictures, size=(size, size), mode="area")


STAGES = (
    Stage(
        name="readers",
        recipe=ReadersRecipe,
        settings=FitSettings(
            steps=500, batch_size=64, learning_rate=3e-3, warmup_steps=50, schedule=Cosine(final=0.02),
            weight_decay=0.03, betas=(0.9, 0.98), ema_decay=0.98, optimizer=Optimizer.MUON,
        ),
    ),
    Stage(
        name="base",
        recipe=BaseRecipe,
        settings=FitSettings(
            steps=2000, batch_size=64, learning_rate=2e-3, warmup_steps=100, schedule=Cosine(final=0.05),
            weight_decay=0.01, betas=(0.9, 0.99), ema_decay=0.995,
        ),
        finetune=True,
    ),
    Stage(
        name="experts",
        recipe=ExpertsRecipe,
        settings=FitSettings(
            steps=500, batch_size=96, learning_rate=5e-4, warmup_steps=20, schedule=Cosine(final=0.05),
            weight_decay=0.01, betas=(0.9, 0.99), ema_decay=0.99,
        ),
        finetune=True,
    ),
    Stage(
        name="upscale",
        recipe=UpscaleRecipe,
        settings=FitSettings(
            steps=1000, batch_size=32, learning_rate=2e-3, warmup_steps=50, schedule=Cosine(final=0.05),
            weight_decay=0.01, betas=(0.9, 0.99), ema_decay=0.99,
        ),
        finetune=True,
    ),
)  # fmt: skip
