"""How a bridge learns: epochs that train one direction on the other's roll-outs, in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bottega.data import Crop, Pictured, Source, fit_picture, pictures_to_tensor
from bottega.room import Stage, silent
from bottega.systems.diffusion.sdsb.config import FolderEnd
from bottega.systems.diffusion.sdsb.inference import SdsbRequest, bundled_states, infer
from bottega.systems.diffusion.sdsb.model import Sdsb, parameters_of
from bottega.systems.diffusion.sdsb.objective import bridge_loss
from bottega.training import Constant, FitSettings, TrainState, adamw, descend

EPOCHS = 4
"""Epochs of a whole training; their length follows from its updates."""


@dataclass(frozen=True, slots=True)
class TwoPictures:
    """A picture of either end, not a pair: uint8 `(height, width, 3)` each."""

    first: np.ndarray
    second: np.ndarray


class Ends(Protocol):
    """Samples of both ends."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> TwoPictures | None:
        """The sample at an index; None for one of the ends that the configuration names."""
        ...


@dataclass(frozen=True, slots=True)
class BundledEnds:
    """The ends that the configuration names, as they come with the package."""

    def __len__(self) -> int:
        return 1_000_000

    def sample(self, index: int) -> None:
        """What the configuration names."""
        return


@dataclass(frozen=True, slots=True)
class FolderEnds:
    """Pictures of the user's own.

    Args:
        first: Of the first end.
        second: Of the second end.
    """

    first: Source[Pictured]
    second: Source[Pictured]

    def __len__(self) -> int:
        return len(self.first)

    def sample(self, index: int) -> TwoPictures:
        """The picture of the first end at an index, with one of the second end by chance."""
        stranger = torch.Generator().manual_seed(index)
        other = int(torch.randint(len(self.second), (), generator=stranger))
        return TwoPictures(self.first.sample(index).picture, self.second.sample(other).picture)


@dataclass(frozen=True, slots=True)
class SdsbBatch:
    """States of both ends, not paired: `(batch, ...)` each."""

    first: Tensor
    second: Tensor


class SdsbRecipe:
    """The one stage.

    Args:
        model: Its two networks are trained; its autoencoder is used as it is.
        source: Where the ends come from.
    """

    def __init__(self, model: Sdsb, source: Ends) -> None:
        self.model, self.source = model, source
        if model.autoencoder is not None:
            model.autoencoder.requires_grad_(False)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> SdsbBatch:
        """States of both ends."""
        config, samples = self.model.config, [self.source.sample(index) for index in indices]
        pictures = [sample for sample in samples if sample is not None]
        if len(pictures) < len(samples):
            ends = (config.first, config.second)
            return SdsbBatch(*(bundled_states(self.model, end, len(indices), generator) for end in ends))
        first, second = ([getattr(sample, end) for sample in pictures] for end in ("first", "second"))
        return SdsbBatch(self._states(first), self._states(second))

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """All parameters alike, as published."""
        return [{"params": [p for p in self.model.parameters() if p.requires_grad]}]

    def optimizers(self, settings: FitSettings) -> dict[str, torch.optim.Optimizer]:
        """One for each direction."""
        return {
            name: adamw([{"params": parameters_of(self.model, there=there)}], settings)
            for name, there in (("there", True), ("back", False))
        }

    def step(self, state: TrainState, batch: SdsbBatch) -> Mapping[str, float | Tensor]:
        """One update of the network whose epoch it is."""
        epoch = state.step * EPOCHS // max(state.settings.steps, EPOCHS)

        def loss(part: SdsbBatch) -> Mapping[str, Tensor]:
            error, energy = bridge_loss(self.model, epoch, part.first, part.second, state.generator)
            return {"loss": error, "path_energy": energy}

        return descend(state, batch, loss, "there" if epoch % 2 == 0 else "back")

    def preview(self, state: TrainState) -> Mapping[str, np.ndarray]:
        """The last picture of the way there."""
        if isinstance(self.model.config.first, FolderEnd):
            return {}
        return {"there": infer(self.model, SdsbRequest(count=4), silent).pictures[-1]}

    def _states(self, pictures: Sequence[np.ndarray]) -> Tensor:
        squares = [fit_picture(picture, self.model.config.picture_size, how=Crop()) for picture in pictures]
        with torch.no_grad():
            made = pictures_to_tensor(np.stack(squares))
            return self.model.to_states(made.to(self.model.like.device))


def sdsb_recipe(model: nn.Module, source: Ends) -> SdsbRecipe:
    """The recipe of a bridge."""
    if not isinstance(model, Sdsb):
        raise TypeError(f"a bridge's stage trains an Sdsb, not a {type(model).__name__}")
    return SdsbRecipe(model, source)


STAGES = (
    Stage(
        name="bridge",
        recipe=sdsb_recipe,
        settings=FitSettings(
            steps=900, batch_size=16, learning_rate=3e-3, schedule=Constant(), weight_decay=0.0, ema_decay=0.95,
            preview_every=500,
        ),
        finetune=True,
    ),
)  # fmt: skip
