"""How NCSN learns: pictures, a noise level each, and the weights averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bottega.data import CaptionedPicture, Crop, Source, fit_picture, pictures_to_tensor
from bottega.room import Stage
from bottega.systems.diffusion.ncsn.inference import NcsnRequest, infer
from bottega.systems.diffusion.ncsn.model import Ncsn
from bottega.systems.diffusion.ncsn.objective import ncsn_loss
from bottega.systems.diffusion.ncsn.sampling import from_pictures
from bottega.training import Cosine, FitSettings, Precision, TrainState, decay_groups, descend, sample_generators
from bottega.worlds import Sample

Pictures = Source[CaptionedPicture | Sample]
"""A world, or a folder of the user's."""


class NcsnRecipe:
    """The one stage: denoising score matching.

    Args:
        model: The score network.
        source: Pictures.
        flip: Whether a picture is mirrored half of the time, as all published sizes but MNIST's were trained.
    """

    def __init__(self, model: Ncsn, source: Pictures, *, flip: bool = False) -> None:
        self.model, self.source, self.flip = model, source, flip

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Tensor:
        """Pictures `(batch, channels, size, size)` in [0, 1]; NCSN's (not NCSNv2's) with the pixels' steps filled."""
        config, streams = self.model.config, sample_generators(generator, indices)
        squares = [fit_picture(self.source.sample(index).picture, config.size, how=Crop()) for index in indices]
        pixels = from_pictures(pictures_to_tensor(np.stack(squares)), config.channels)
        if config.conditional:
            fill = torch.stack([torch.rand(pixels.shape[1:], generator=stream) for stream in streams])
            pixels = (255.0 * pixels + fill) / 256.0
        if self.flip:
            mirrored = torch.stack([torch.rand((), generator=stream) < 0.5 for stream in streams])
            pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
        return pixels

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Kernels with decay (none was published), norms and offsets without."""
        return decay_groups(self.model, settings, lambda name, _: "norm" in name)

    def step(self, state: TrainState, batch: Tensor) -> Mapping[str, float | Tensor]:
        """One update."""
        return descend(state, batch, lambda part: ncsn_loss(self.model, part, state.generator))

    def preview(self, state: TrainState) -> Mapping[str, np.ndarray]:
        """Eight drawn pictures in a row, with one step at each level."""
        made = infer(self.model, NcsnRequest(count=8, steps_per_level=1), lambda _: None)
        return {"draws": np.concatenate(list(made.pictures), axis=1)}


def ncsn_recipe(model: nn.Module, source: Pictures) -> NcsnRecipe:
    """The recipe of an NCSN."""
    if not isinstance(model, Ncsn):
        raise TypeError(f"NCSN's stage trains an Ncsn, not a {type(model).__name__}")
    return NcsnRecipe(model, source)


STAGES = (
    Stage(
        name="scores",
        recipe=ncsn_recipe,
        settings=FitSettings(
            steps=2500, batch_size=32, learning_rate=2e-3, warmup_steps=50, schedule=Cosine(final=0.02),
            weight_decay=0.0, betas=(0.9, 0.99), clip_norm=None, precision=Precision.BF16, ema_decay=0.99,
            save_every=250,
        ),
        finetune=True,
    ),
)  # fmt: skip
