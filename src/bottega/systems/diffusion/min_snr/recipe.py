"""How the diffusion transformer learns: pictures with their classes, some of which are left out for guidance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bottega.data import Captioned, Crop, Source, fit_picture, pictures_to_tensor, tensor_to_pictures
from bottega.errors import RequestError
from bottega.room import Stage
from bottega.systems.diffusion.min_snr.config import EMOJI_GROUPS
from bottega.systems.diffusion.min_snr.inference import MinSnrRequest, class_id, draw
from bottega.systems.diffusion.min_snr.model import MinSnrPipeline
from bottega.systems.diffusion.min_snr.objective import min_snr_loss
from bottega.training import Cosine, FitSettings, Optimizer, Precision, TrainState, decay_groups, descend
from bottega.worlds import Sample
from bottega.worlds.emoji import load_index

LEFT_OUT = 0.15
"""Share of classes that are left out, as published."""


@dataclass(frozen=True, slots=True)
class MinSnrBatch:
    """Pictures `(batch, 3, size, size)` in [-1, 1] and classes `(batch,)`."""

    pictures: Tensor
    classes: Tensor


class MinSnrRecipe:
    """The one stage.

    Args:
        pipeline: Its transformer is trained; its autoencoder is used as it is.
        source: Pictures with words.
    """

    def __init__(self, pipeline: MinSnrPipeline, source: Source[Captioned]) -> None:
        self.pipeline, self.model, self.source = pipeline, pipeline.network, source

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MinSnrBatch:
        """Pictures with their classes; some say nothing."""
        samples, size = [self.source.sample(index) for index in indices], self.pipeline.config.picture_size
        squares = np.stack([fit_picture(sample.picture, size, how=Crop()) for sample in samples])
        classes = torch.tensor([class_of(self.pipeline, sample) for sample in samples])
        left_out = torch.rand(len(samples), generator=generator) < LEFT_OUT
        return MinSnrBatch(
            pictures=pictures_to_tensor(squares),
            classes=torch.where(left_out, self.pipeline.config.classes, classes),
        )

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay; vectors, positions and the tables of times and classes without."""
        return decay_groups(self.model, settings, lambda name, _: "_embed" in name and "patch" not in name)

    def step(self, state: TrainState, batch: MinSnrBatch) -> Mapping[str, float | Tensor]:
        """One update."""

        def loss(part: MinSnrBatch) -> Tensor:
            with torch.no_grad():
                clean = self.pipeline.to_states(part.pictures, state.generator)
            return min_snr_loss(self.pipeline, clean, part.classes, state.generator)

        return descend(state, batch, loss)

    def preview(self, state: TrainState) -> Mapping[str, np.ndarray]:
        """Eight pictures in a row, each of the next class."""
        with torch.inference_mode():
            ids = [number % self.pipeline.config.classes for number in range(8)]
            made = draw(self.pipeline, ids, MinSnrRequest(steps=12))
            return {"draws": np.concatenate(list(tensor_to_pictures(self.pipeline.to_pictures(made))), axis=1)}


def class_of(pipeline: MinSnrPipeline, sample: Captioned) -> int:
    """A sample's class: the group of its one emoji, else its caption; the one that says nothing where that is none."""
    name = sample.caption
    if isinstance(sample, Sample) and len(sample.things) == 1 and sample.things[0].id >= 0:
        name = load_index()[sample.things[0].id].group
        if pipeline.config.names != EMOJI_GROUPS:
            return pipeline.config.classes
    try:
        return class_id(pipeline, name)
    except RequestError:
        return pipeline.config.classes


def min_snr_recipe(model: nn.Module, source: Source[Captioned]) -> MinSnrRecipe:
    """The recipe of a Min-SNR transformer."""
    if not isinstance(model, MinSnrPipeline):
        raise TypeError(f"Min-SNR's stage trains a MinSnrPipeline, not a {type(model).__name__}")
    return MinSnrRecipe(model, source)


STAGES = (
    Stage(
        name="denoise",
        recipe=min_snr_recipe,
        settings=FitSettings(
            steps=1000, batch_size=64, learning_rate=2e-3, warmup_steps=50, schedule=Cosine(final=0.02),
            weight_decay=0.03, betas=(0.9, 0.99), precision=Precision.FP32, ema_decay=0.99, preview_every=400,
            compile=True, optimizer=Optimizer.MUON,
        ),
        finetune=True,
    ),
)  # fmt: skip
