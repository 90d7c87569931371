"""How score networks learn: all losses of a size side by side, on the same samples of two modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bottega.data import Source
from bottega.errors import RequestError
from bottega.room import Stage
from bottega.systems.diffusion.score_matching.config import MOST_DIMENSIONS
from bottega.systems.diffusion.score_matching.model import ScoreMatching
from bottega.systems.diffusion.score_matching.objective import score_loss
from bottega.training import Cosine, FitSettings, TrainState, decay_groups, descend

Points = Source[Tensor]
"""Points of at least as many numbers as a network takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoModes:
    """Samples of the two-mode mixture in `MOST_DIMENSIONS` dimensions, whose first d numbers are those in d.

    Args:
        seed: Another seed gives other samples.
        length: How many.
    """

    seed: int = 0
    length: int = 50_000
    points: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        signs = torch.where(torch.rand(self.length, 1, generator=generator) < 0.8, 5.0, -5.0)
        noise = torch.randn(self.length, MOST_DIMENSIONS, generator=generator)
        object.__setattr__(self, "points", signs + noise)

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int) -> Tensor:
        """The point at an index."""
        return self.points[index % self.length]


def open_points(place: str | Path | None) -> TwoModes:
    """The data by name.

    Raises:
        RequestError: Anything but the two modes: the true score must be known.
    """
    if place not in (None, "two-modes"):
        raise RequestError.of(
            "data", str(place), "two-modes", "leave it out; this room learns where the score is known"
        )
    return TwoModes()


class ScoreMatchingRecipe:
    """The one stage.

    Args:
        model: Networks, each trained with the loss of its name.
        source: Samples.
    """

    def __init__(self, model: ScoreMatching, source: Points) -> None:
        self.model, self.source = model, source

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Tensor:
        """Points `(batch, dim)`."""
        return torch.stack([self.source.sample(index) for index in indices])[:, : self.model.config.network.dim]

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay (none was published), offsets without."""
        return decay_groups(self.model, settings)

    def step(self, state: TrainState, batch: Tensor) -> Mapping[str, float | Tensor]:
        """One update of every network; they share nothing, so the sum of their losses trains each by its own."""
        config = self.model.config

        def loss(part: Tensor) -> dict[str, Tensor]:
            each = {
                method.value: score_loss(
                    lambda x, method=method: self.model(x, method), part, method, config, state.generator
                ).mean()
                for method in config.methods
            }
            return {"loss": torch.stack(list(each.values())).sum(), **each}

        return descend(state, batch, loss)


def score_matching_recipe(model: nn.Module, source: Points) -> ScoreMatchingRecipe:
    """The recipe of score networks."""
    if not isinstance(model, ScoreMatching):
        raise TypeError(f"score matching trains a ScoreMatching, not a {type(model).__name__}")
    return ScoreMatchingRecipe(model, source)


STAGES = (
    Stage(
        name="scores",
        recipe=score_matching_recipe,
        settings=FitSettings(
            steps=4000, batch_size=256, learning_rate=2e-3, warmup_steps=100, schedule=Cosine(final=0.01),
            weight_decay=0.0, clip_norm=None, ema_decay=0.99, log_every=100,
        ),
    ),
)  # fmt: skip
