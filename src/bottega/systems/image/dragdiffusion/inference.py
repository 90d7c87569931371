"""Running DragDiffusion: a sentence or a picture, handles and targets to the dragged picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bottega.data import fit_picture, read_picture, tensor_to_pictures
from bottega.errors import RequestError
from bottega.processes.dragging import DiffusionCanvas, DiffusionDrag, DragSession, DragStep, read_points
from bottega.results import DragFrames, DragResult, marked
from bottega.room import PictureFile, Progress, Report
from bottega.systems.image.dragdiffusion.model import DragDiffusion
from bottega.systems.image.dragdiffusion.sampling import (
    LESSONS,
    DiffusionDragger,
    canvas_of_picture,
    canvas_of_words,
    drag_settings,
)

SHOWN_EVERY = 8
"""Steps between pictures of the way: each is drawn to its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DragDiffusionRequest:
    """What to draw, or which picture to take, and what to drag where."""

    inputs: tuple[str, ...] = ()
    """What the picture shows, in words (a class's name for U-ViT); none for anything."""
    picture: PictureFile | None = None
    """A picture of your own; left out, the words are drawn."""
    handles: str = ""
    """Points to drag, as "x,y x,y": columns and rows in pixels of the model's picture, from 0. None: only draw."""
    targets: str = ""
    """Where to, as "x,y x,y": one for each handle."""
    mask: PictureFile | None = None
    """What may move: white there, black elsewhere. Left out: everything may."""
    steps: int = 80
    """Most steps of the drag, 1 to 1000."""
    rate: float = 0.02
    """How fast the state moves, 0.00001 to 1."""
    stillness: float = 20.0
    """How strongly what may not move is held, 0 to 1000."""
    depth: float = 0.7
    """How far back on the way to noise it is dragged, above 0 and below 1: deeper moves more and keeps less."""
    reference: bool = True
    """Whether the dragged picture attends to its source, which keeps what it is."""
    denoising: int = 30
    """Denoising steps of the whole way, 2 to 1000."""
    guidance: float = 2.0
    """How strongly the words pull where they are drawn, 1 to 50; 1 is no guidance."""
    lessons: int = LESSONS
    """Updates that learn a picture of your own by low-rank additions (LoRA), 0 to 10000."""
    seed: int = 0
    """The same seed draws the same picture, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if len(self.inputs) > 1:
            raise RequestError.of("inputs", len(self.inputs), "one sentence, or none")
        if len(self.handle_points()) != len(self.target_points()):
            count = f"{len(self.handle_points())} handles and {len(self.target_points())} targets"
            raise RequestError(f"{count}: each handle needs a target")
        for name, low, high in (
            ("steps", 1, 1000), ("rate", 1e-5, 1.0), ("stillness", 0.0, 1000.0), ("guidance", 1.0, 50.0),
            ("lessons", 0, 10_000),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise RequestError.of(name, getattr(self, name), f"between {low:g} and {high:g}")
        if not 0 <= self.seed < 2**31:
            raise RequestError.of("seed", self.seed, "between 0 and 2**31 - 1")
        how_of(self)

    def handle_points(self) -> list[tuple[float, float]]:
        """Handles as columns and rows."""
        return read_points("handles", self.handles)

    def target_points(self) -> list[tuple[float, float]]:
        """Targets as columns and rows."""
        return read_points("targets", self.targets)


def how_of(request: DragDiffusionRequest) -> DiffusionDrag:
    """Steps, depth, guidance and reference of a request."""
    return DiffusionDrag(
        steps=request.denoising, depth=request.depth, guidance=request.guidance, reference=request.reference
    )


def infer(model: DragDiffusion, request: DragDiffusionRequest, report: Report) -> DragResult:
    """Draws or learns a picture, then drags it.

    Args:
        model: The room with a connected diffusion model.
        request: What to drag where.
        report: Called after every step; may raise `Cancelled`.

    Raises:
        RequestError: A point is outside the picture, or the model knows no such words.
    """
    prior = model.prior
    canvas = _canvas(model, request, report)
    settings = replace(drag_settings(prior), steps=request.steps, rate=request.rate, stillness=request.stillness)
    session = DragSession(canvas, canvas.latent, settings)
    way, handles = DragFrames(), request.handle_points()
    pictures = _Pictures()
    if handles:
        first = session.place(handles, request.target_points(), _mask(prior.size, request))
        way.add(0, pictures.of(first), first.points.cpu().numpy())
        while not session.done:
            step = session.step()
            shown = pictures.of(step) if session.done or step.number % SHOWN_EVERY == 0 else pictures.last
            way.add(step.number, shown, step.points.cpu().numpy())
            targets = np.array(request.target_points(), dtype=np.float32)
            points = step.points.cpu().numpy()
            show = lambda shown=shown, points=points, targets=targets: marked(shown, points, targets)  # noqa: E731
            report(Progress(step=step.number, total=request.steps, stage="drag", preview=show))
    else:
        way.add(0, pictures.of(session.state), np.zeros((0, 2), np.float32))
    last = session.state
    return way.result(
        targets=np.array(request.target_points(), dtype=np.float32).reshape(-1, 2),
        latent=session.latent[0].float().cpu().numpy(),
        arrived=last.arrived and bool(handles),
        seed=request.seed,
        settings={"steps": last.number, "depth": request.depth, "reference": request.reference},
    )


def dragger(model: DragDiffusion) -> DiffusionDragger:
    """The model where people drag pictures."""
    return DiffusionDragger(model)


def files(request: DragDiffusionRequest) -> tuple[str | Path, ...]:
    """The files that a request reads."""
    return tuple(name for name in (request.picture, request.mask) if name is not None)


class _Pictures:
    """Pictures of steps; the last one is kept."""

    def __init__(self) -> None:
        self.last = np.zeros((1, 1, 3), np.uint8)

    def of(self, step: DragStep) -> np.ndarray:
        """The picture of a step, drawn to its end."""
        self.last = tensor_to_pictures(step.picture())[0]
        return self.last


def _canvas(model: DragDiffusion, request: DragDiffusionRequest, report: Report) -> DiffusionCanvas:
    text, how = next(iter(request.inputs), ""), how_of(request)

    def told(step: int, total: int, stage: str) -> None:
        report(Progress(step=step, total=total, stage=stage))

    if request.picture is None:
        return canvas_of_words(model.prior, text, request.seed, how, told)
    return canvas_of_picture(model.prior, read_picture(request.picture), text, how, request.lessons, told)


def _mask(size: int, request: DragDiffusionRequest) -> torch.Tensor | None:
    if request.mask is None:
        return None
    square = fit_picture(read_picture(request.mask), size)
    return torch.from_numpy((square.mean(axis=2) >= 128).astype(np.float32))
