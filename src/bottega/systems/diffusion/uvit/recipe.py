"""How U-ViT learns: pictures with their classes or texts, one in ten of which is left out for guidance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bottega.data import Crop, fit_picture, pictures_to_tensor, tensor_to_pictures
from bottega.errors import RequestError
from bottega.processes.diffusion import Weighting
from bottega.room import Stage
from bottega.systems.diffusion.uvit.config import ClassCondition, NoCondition, TextCondition
from bottega.systems.diffusion.uvit.inference import UVitRequest, ask, draw
from bottega.systems.diffusion.uvit.model import UVitPipeline
from bottega.systems.diffusion.uvit.objective import uvit_loss
from bottega.training import Cosine, FitSettings, Optimizer, Precision, TrainState, decay_groups, descend
from bottega.worlds.emoji import class_of_sample


class Captioned(Protocol):
    """A picture with words."""

    @property
    def picture(self) -> np.ndarray:
        """The pixels, uint8 `(height, width, 3)`."""
        ...

    @property
    def caption(self) -> str:
        """Words, or a class's name."""
        ...


class CaptionedPictures(Protocol):
    """A world, or a folder of the user's."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Captioned:
        """The picture at an index."""
        ...


@dataclass(frozen=True, slots=True)
class UVitBatch:
    """Pictures `(batch, 3, size, size)` in [-1, 1], and class ids `(batch,)`, token ids `(batch, context)`, or None."""

    pictures: Tensor
    words: Tensor | None


class UVitRecipe:
    """The one stage: noise prediction.

    Args:
        pipeline: Its network is trained; its autoencoder and text tower are used as they are.
        source: Pictures with words.
        leave_out: Share of samples whose class or text is left out; 0.1 to 0.15 were published.
        weighting: How much each noise level counts; None as `uvit_loss` says.
    """

    def __init__(
        self,
        pipeline: UVitPipeline,
        source: CaptionedPictures,
        *,
        leave_out: float = 0.1,
        weighting: Weighting | None = None,
    ) -> None:
        self.pipeline, self.model, self.source = pipeline, pipeline.network, source
        self.leave_out, self.weighting = leave_out, weighting

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> UVitBatch:
        """Pictures with their classes or tokens."""
        samples, size = [self.source.sample(index) for index in indices], self.pipeline.config.picture_size
        squares = [fit_picture(sample.picture, size, how=Crop()) for sample in samples]
        pictures = pictures_to_tensor(np.stack(squares))
        words, null = self._words(samples)
        if words is not None and null is not None:
            left_out = torch.rand(len(samples), generator=generator) < self.leave_out
            words = torch.where(left_out.view(-1, *[1] * (words.ndim - 1)), null, words)
        return UVitBatch(pictures, words)

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay, vectors and positions without."""
        return decay_groups(self.model, settings, lambda name, _: name == "pos_embed")

    def step(self, state: TrainState, batch: UVitBatch) -> Mapping[str, float | Tensor]:
        """One update."""

        def loss(part: UVitBatch) -> Tensor:
            with torch.no_grad():
                clean = self.pipeline.to_signal(part.pictures, state.generator)
                condition = part.words
                if condition is not None and self.pipeline.text is not None:
                    condition = self.pipeline.read(condition)
            return uvit_loss(self.model, clean, condition, state.generator, self.weighting)

        return descend(state, batch, loss)

    def preview(self, state: TrainState) -> Mapping[str, np.ndarray]:
        """Eight pictures of any class in a row."""
        with torch.inference_mode():
            asked = ask(self.pipeline, UVitRequest(count=8))
            signal = draw(self.pipeline, asked, 8, steps=12, guidance=1.0, seed=0, report=lambda *_: None)
            return {"draws": np.concatenate(list(tensor_to_pictures(self.pipeline.to_pictures(signal))), axis=1)}

    def _words(self, samples: Sequence[Captioned]) -> tuple[Tensor | None, Tensor | None]:
        """The samples' class ids or token ids, and those that say nothing, `(1, ...)`; None where there are none."""
        match self.pipeline.config.condition:
            case NoCondition():
                return None, None
            case ClassCondition() as condition:
                numbers = [class_of(condition, sample) for sample in samples]
                if None in numbers:
                    raise RequestError("a picture's caption names no class, and this size has none for such pictures")
                return torch.tensor(numbers), torch.tensor([condition.classes]) if condition.null else None
            case TextCondition():
                tokens = self.pipeline.tokenize([*(sample.caption for sample in samples), ""])
                return tokens[:-1], tokens[-1:]


def class_of(condition: ClassCondition, sample: Captioned) -> int | None:
    """A sample's class: the subgroup of its one emoji, else its caption; any class where neither is a class's name."""
    number = class_of_sample(condition.names, sample)
    return condition.classes if number is None and condition.null else number


def uvit_recipe(model: nn.Module, source: CaptionedPictures) -> UVitRecipe:
    """The recipe of a U-ViT."""
    if not isinstance(model, UVitPipeline):
        raise TypeError(f"U-ViT's stage trains a UVitPipeline, not a {type(model).__name__}")
    return UVitRecipe(model, source)


STAGES = (
    Stage(
        name="denoise",
        recipe=uvit_recipe,
        settings=FitSettings(
            steps=2700, batch_size=112, learning_rate=1e-3, warmup_steps=100, schedule=Cosine(final=0.02),
            weight_decay=0.03, betas=(0.9, 0.99), precision=Precision.BF16, ema_decay=0.998, preview_every=500,
            compile=True, optimizer=Optimizer.MUON,
        ),
        finetune=True,
    ),
)  # fmt: skip
