"""How MDT learns: pictures with their classes, one in ten of which is left out for guidance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bottega.data import Crop, fit_picture, pictures_to_tensor, tensor_to_pictures
from bottega.processes.diffusion import MinSnr, Weighting
from bottega.room import Stage
from bottega.systems.diffusion.mdt.inference import MdtRequest, chosen_classes, draw
from bottega.systems.diffusion.mdt.model import MdtPipeline
from bottega.systems.diffusion.mdt.objective import mdt_losses
from bottega.training import Cosine, FitSettings, Optimizer, Precision, TrainState, decay_groups, descend
from bottega.worlds.emoji import class_of_sample


class ClassedPicture(Protocol):
    """A picture with its class's name."""

    @property
    def picture(self) -> np.ndarray:
        """The pixels, uint8 `(height, width, 3)`."""
        ...

    @property
    def caption(self) -> str:
        """The class's name, or words of which none is a class."""
        ...


class ClassedPictures(Protocol):
    """A world, or a folder of the user's."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> ClassedPicture:
        """The picture at an index."""
        ...


@dataclass(frozen=True, slots=True)
class MdtBatch:
    """Pictures `(batch, 3, size, size)` in [-1, 1] and class ids `(batch,)`."""

    pictures: Tensor
    labels: Tensor


class MdtRecipe:
    """The one stage: the noise of whole and of masked pictures.

    Args:
        pipeline: Its network is trained; its autoencoder is used as it is.
        source: Pictures with classes.
        leave_out: Share of samples whose class is left out.
        weighting: How much each noise level counts.
    """

    def __init__(
        self,
        pipeline: MdtPipeline,
        source: ClassedPictures,
        *,
        leave_out: float = 0.1,
        weighting: Weighting = MinSnr(),  # noqa: B008 - frozen
    ) -> None:
        self.pipeline, self.model, self.source = pipeline, pipeline.network, source
        self.leave_out, self.weighting = leave_out, weighting

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MdtBatch:
        """Pictures with their classes, of which some are left out."""
        config = self.pipeline.config
        size, anything = config.picture_size, config.trunk.classes
        samples = [self.source.sample(index) for index in indices]
        squares = np.stack([fit_picture(sample.picture, size, how=Crop()) for sample in samples])
        numbers = [class_of_sample(config.class_names, sample) for sample in samples]
        labels = torch.tensor([anything if number is None else number for number in numbers])
        labels[torch.rand(len(samples), generator=generator) < self.leave_out] = anything
        return MdtBatch(pictures_to_tensor(squares), labels)

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay; vectors, positions and the class embedding without."""
        return decay_groups(
            self.model, settings, lambda name, _: name.endswith(("pos_embed", "positions.table", "classes.weight"))
        )

    def step(self, state: TrainState, batch: MdtBatch) -> Mapping[str, float | Tensor]:
        """One update."""

        def loss(part: MdtBatch) -> Mapping[str, Tensor]:
            with torch.no_grad():
                clean = self.pipeline.to_signal(part.pictures, state.generator)
            return mdt_losses(self.model, clean, part.labels, state.generator, self.weighting)

        return descend(state, batch, loss)

    def preview(self, state: TrainState) -> Mapping[str, np.ndarray]:
        """Eight pictures of classes drawn by chance, in a row."""
        request = MdtRequest(count=8, steps=12)
        with torch.inference_mode():
            signal = draw(self.pipeline, chosen_classes(self.pipeline, request), request, lambda *_: None)
            return {"draws": np.concatenate(list(tensor_to_pictures(self.pipeline.to_pictures(signal))), axis=1)}


def mdt_recipe(model: nn.Module, source: ClassedPictures) -> MdtRecipe:
    """The recipe of a pipeline."""
    if not isinstance(model, MdtPipeline):
        raise TypeError(f"MDT's stage trains an MdtPipeline, not a {type(model).__name__}")
    return MdtRecipe(model, source)


STAGES = (
    Stage(
        name="denoise",
        recipe=mdt_recipe,
        settings=FitSettings(
            steps=2800, batch_size=32, learning_rate=2e-3, warmup_steps=30, schedule=Cosine(final=0.02),
            weight_decay=0.02, betas=(0.9, 0.99), precision=Precision.BF16, ema_decay=0.995, preview_every=1000,
            optimizer=Optimizer.MUON,
        ),
        finetune=True,
    ),
)  # fmt: skip
