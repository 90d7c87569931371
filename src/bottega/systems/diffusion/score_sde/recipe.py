"""How score SDE models learn: pictures with the steps of their pixels filled, and a time each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bottega.data import Crop, fit_picture
from bottega.room import Stage
from bottega.systems.diffusion.score_sde.inference import ScoreSdeRequest, infer
from bottega.systems.diffusion.score_sde.model import ScoreSde
from bottega.systems.diffusion.score_sde.objective import score_sde_loss
from bottega.systems.diffusion.score_sde.sampling import Sampler
from bottega.training import Cosine, FitSettings, Precision, TrainState, decay_groups, descend, sample_generators


class Pictured(Protocol):
    """A sample with a picture."""

    @property
    def picture(self) -> np.ndarray:
        """The pixels, uint8 `(height, width, 3)`."""
        ...


class Pictures(Protocol):
    """A world, or a folder of the user's."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Pictured:
        """The sample at an index."""
        ...


class ScoreSdeRecipe:
    """The one stage: denoising score matching in continuous time.

    Args:
        model: The score network.
        source: Pictures.
        likelihood_weighting: Whether times are weighed so that the loss bounds the negative log-likelihood.
        flip: Whether a picture is mirrored half of the time, as the published sizes were trained.
    """

    def __init__(
        self, model: ScoreSde, source: Pictures, *, likelihood_weighting: bool = False, flip: bool = False
    ) -> None:
        self.model, self.source = model, source
        self.likelihood_weighting, self.flip = likelihood_weighting, flip

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Tensor:
        """Pictures `(batch, 3, size, size)` in [-1, 1), each byte spread evenly over its bin."""
        size, streams = self.model.config.network.size, sample_generators(generator, indices)
        squares = [fit_picture(self.source.sample(index).picture, size, how=Crop()) for index in indices]
        pixels = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
        spread = torch.stack([torch.rand(pixels.shape[1:], generator=stream) for stream in streams])
        pictures = (pixels + spread) / 128 - 1
        if not self.flip:
            return pictures
        mirrored = torch.stack([torch.rand((), generator=stream) < 0.5 for stream in streams])
        return torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures)

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Kernels with decay (none was published), norms and offsets without."""
        return decay_groups(self.model, settings, lambda name, _: "norm" in name)

    def step(self, state: TrainState, batch: Tensor) -> Mapping[str, float | Tensor]:
        """One update."""

        def loss(part: Tensor) -> Tensor:
            clean = self.model.from_pictures(part)
            return score_sde_loss(self.model, clean, state.generator, likelihood_weighting=self.likelihood_weighting)

        return descend(state, batch, loss)

    def preview(self, state: TrainState) -> Mapping[str, np.ndarray]:
        """Eight drawn pictures in a row."""
        request = ScoreSdeRequest(count=8, steps=20, sampler=Sampler.HEUN)
        return {"draws": np.concatenate(infer(self.model, request, lambda _: None).items(), axis=1)}


def score_sde_recipe(model: nn.Module, source: Pictures) -> ScoreSdeRecipe:
    """The recipe of a score SDE model."""
    if not isinstance(model, ScoreSde):
        raise TypeError(f"score SDE's stage trains a ScoreSde, not a {type(model).__name__}")
    return ScoreSdeRecipe(model, source)


STAGES = (
    Stage(
        name="scores",
        recipe=score_sde_recipe,
        settings=FitSettings(
            steps=4000, batch_size=32, learning_rate=2e-3, warmup_steps=50, schedule=Cosine(final=0.02),
            weight_decay=0.0, betas=(0.9, 0.99), clip_norm=1.0, precision=Precision.BF16, ema_decay=0.995,
            save_every=200,
        ),
        finetune=True,
    ),
)  # fmt: skip
