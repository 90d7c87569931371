"""Pictures that can be dragged in a diffusion model: drawn of a sentence, or somebody's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bottega.data import fit_picture, pictures_to_tensor
from bottega.errors import RequestError
from bottega.processes.diffusion import Prior
from bottega.processes.dragging import (
    DiffusionCanvas,
    DiffusionDrag,
    DragSession,
    DragSettings,
    Drawn,
    Given,
    NearestFeature,
    PictureLora,
    Start,
    Told,
    Worded,
    drawn_state,
    inverted_state,
)
from bottega.systems.image.dragdiffusion.model import DragDiffusion
from bottega.training import draw_generators

LESSONS = 80
"""Updates that learn somebody's picture, as published."""


def drag_settings(prior: Prior) -> DragSettings:
    """How a diffusion model is dragged: 80 steps, as published, at a rate of 0.02; lengths follow the picture."""
    unit = prior.size / 64
    return DragSettings(
        rate=0.02, radius=2 * unit, stillness=20.0, near=unit, pulled=unit, steps=80,
        tracker=NearestFeature(radius=4 * unit),
    )  # fmt: skip


def canvas_of_words(prior: Prior, text: str, seed: int, how: DiffusionDrag, told: Told) -> DiffusionCanvas:
    """A picture that the model draws of a sentence; of anything for an empty one."""
    condition = condition_of(prior, text)
    guidance = how.guidance if text and prior.null_cond is not None else 1.0
    state = drawn_state(prior, condition, how, draw_generators(seed, 1)[0], told, guidance=guidance)
    return DiffusionCanvas(prior, state, condition, how, guidance=guidance)


def canvas_of_picture(
    prior: Prior, picture: np.ndarray, text: str, how: DiffusionDrag, lessons: int, told: Told
) -> DiffusionCanvas:
    """Somebody's picture: learned by low-rank additions, then walked backwards.

    Args:
        prior: The model.
        picture: uint8 `(height, width, 3)`; cut to a square and resized.
        text: What it shows; may be empty.
        how: Steps and depth.
        lessons: Updates that learn the picture; 0 learns nothing.
        told: Hears of every step.
    """
    condition = condition_of(prior, text)
    square = pictures_to_tensor(fit_picture(picture, prior.size)[None]).to(prior.like)
    canvas_lora = None
    if lessons and prior.taps is not None:
        canvas_lora = PictureLora(prior.taps.projections)
        canvas_lora.learn(prior, square, condition, lessons, told)
    state = inverted_state(prior, square, condition, how, told, lora=canvas_lora)
    return DiffusionCanvas(prior, state, condition, how, lora=canvas_lora)


def condition_of(prior: Prior, text: str) -> Any:  # noqa: ANN401 - the model's type
    """A sentence as the model's condition, of one row; nothing for an empty one."""
    return prior.conditions([text]) if text else prior.conditions([], 1)


@dataclass(frozen=True, slots=True, eq=False)
class DiffusionDragger:
    """The model where people drag pictures. See `bottega.processes.dragging.Dragger`."""

    model: DragDiffusion
    how: DiffusionDrag = DiffusionDrag()

    @property
    def size(self) -> int:
        """Side of its pictures in pixels."""
        return self.model.prior.size

    @property
    def kinds(self) -> tuple[str, ...]:
        """It draws sentences, not kinds."""
        return ()

    @property
    def reads(self) -> bool:
        """Whether it draws sentences."""
        return self.model.prior.condition is not None

    def begin(self, start: Start, told: Told) -> DragSession:
        """A picture, ready to be dragged."""
        prior = self.model.prior
        match start:
            case Drawn(seed=seed):
                canvas = canvas_of_words(prior, "", seed, self.how, told)
            case Worded(text=text, seed=seed):
                if not self.reads:
                    raise RequestError("this model draws no sentences; give a seed or a picture")
                canvas = canvas_of_words(prior, text, seed, self.how, told)
            case Given(picture=picture):
                canvas = canvas_of_picture(prior, picture, "", self.how, LESSONS, told)
        return DragSession(canvas, canvas.latent, drag_settings(prior))
