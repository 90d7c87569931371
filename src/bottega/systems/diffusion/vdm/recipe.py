"""How VDM learns: the bound on the bits of pictures; the schedule's interior learns to make its estimate vary least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bottega.data import Crop, Pictured, Source, fit_picture, tensor_to_pictures
from bottega.room import Stage
from bottega.systems.diffusion.vdm.inference import draw
from bottega.systems.diffusion.vdm.model import Vdm
from bottega.systems.diffusion.vdm.objective import picture_bits
from bottega.training import Constant, FitSettings, TrainState, decay_groups, descend


@dataclass(frozen=True, slots=True)
class VdmBatch:
    """Pictures `(batch, 3, size, size)`, uint8."""

    levels: Tensor


class VdmRecipe:
    """The one stage.

    Args:
        model: Trained as a whole.
        source: Source[Pictured].
    """

    def __init__(self, model: Vdm, source: Source[Pictured]) -> None:
        self.model, self.source = model, source

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> VdmBatch:
        """Pictures, each mirrored or not."""
        size = self.model.config.size
        squares = [fit_picture(self.source.sample(index).picture, size, how=Crop()) for index in indices]
        levels = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
        mirrored = torch.rand(len(squares), generator=generator) < 0.5
        return VdmBatch(torch.where(mirrored.reshape(-1, 1, 1, 1), levels.flip(-1), levels))

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Kernels with decay; vectors and the schedule without."""
        return decay_groups(self.model, settings, lambda name, _: name.startswith("schedule."))

    def step(self, state: TrainState, batch: VdmBatch) -> Mapping[str, float | Tensor]:
        """One update; the loss is in bits per dimension."""

        def loss(part: VdmBatch) -> Mapping[str, Tensor]:
            bits = picture_bits(self.model, part.levels, state.generator, weighted=True)
            parts = {name: getattr(bits, name).mean() for name in ("diffusion", "prior", "reconstruction")}
            return {"loss": bits.total.mean(), **parts}

        return descend(state, batch, loss)

    def preview(self, state: TrainState) -> Mapping[str, np.ndarray]:
        """Eight pictures in a row."""
        with torch.inference_mode():
            made = draw(self.model, [torch.Generator().manual_seed(i) for i in range(8)], 50)
            return {"draws": np.concatenate(list(tensor_to_pictures(made)), axis=1)}


def vdm_recipe(model: nn.Module, source: Source[Pictured]) -> VdmRecipe:
    """The recipe of a VDM."""
    if not isinstance(model, Vdm):
        raise TypeError(f"VDM's stage trains a Vdm, not a {type(model).__name__}")
    return VdmRecipe(model, source)


STAGES = (
    Stage(
        name="bound",
        recipe=vdm_recipe,
        settings=FitSettings(
            steps=1500, batch_size=32, learning_rate=2e-3, warmup_steps=50, schedule=Constant(), weight_decay=0.01,
            betas=(0.9, 0.99), ema_decay=0.99, preview_every=500,
        ),
        finetune=True,
    ),
)  # fmt: skip
