"""Running DragGAN: a picture, handles and targets to the dragged picture and the way there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bottega.data import fit_picture, read_picture, tensor_to_pictures
from bottega.errors import RequestError
from bottega.processes.dragging import (
    Assumed,
    DragSession,
    DragSettings,
    DragStep,
    NearestFeature,
    OpticalFlow,
    Tracker,
    read_points,
)
from bottega.results import DragFrames, DragResult, marked
from bottega.room import PictureFile, Progress, Report
from bottega.systems.image.draggan.config import DragGanConfig
from bottega.systems.image.draggan.model import DragGan
from bottega.systems.image.draggan.sampling import (
    PSI,
    GanCanvas,
    GanDragger,
    Inversion,
    drag_settings,
    draw_styles,
    invert,
    kind_number,
    tuned,
)


class Space(Enum):
    """What a drag changes."""

    W = "w"
    """One style for all layers that are dragged: stays near what the generator draws."""
    WPLUS = "w+"
    """A style for each of them: reaches further."""

    @property
    def label(self) -> str:
        """What a form shows."""
        return self.value.upper()


class Following(Enum):
    """How handles are followed."""

    FEATURES = "features"
    FLOW = "flow"
    NONE = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class DragGanRequest:
    """What to drag where."""

    inputs: tuple[PictureFile, ...] = ()
    """A picture of your own, which the generator looks for in itself; none to draw one."""
    handles: str = ""
    """Points to drag, as "x,y x,y": columns and rows in pixels of the generator's picture, from 0. None: only draw."""
    targets: str = ""
    """Where to, as "x,y x,y": one for each handle."""
    mask: PictureFile | None = None
    """What may move: white there, black elsewhere. Left out: everything may."""
    kind: str = ""
    """The kind of picture to draw, where the size knows several ("emoji face", "critter"); left out: the first."""
    space: Space = Space.WPLUS
    """Whether all layers share one style (W), or each has its own (W+), which reaches further."""
    stillness: float = 20.0
    """How strongly what may not move is held (the paper's lambda), 0 to 1000."""
    steps: int = 150
    """Most steps, 1 to 1000; a drag stops when every handle has arrived."""
    rate: float | None = None
    """How fast styles move, 0.00001 to 1. Left out: what suits the size."""
    tracker: Following = Following.FEATURES
    """How handles are followed: by their features; by the flow of the pictures, or not at all, to compare."""
    psi: float = PSI
    """Truncation of a drawn picture, 0 to 1: smaller is nearer to the mean picture."""
    search: int = 200
    """Updates that look for a picture of your own, 0 to 10000."""
    tuning: int = 0
    """Updates of the generator itself around that picture (pivotal tuning), 0 to 10000."""
    seed: int = 0
    """Draws the picture, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if len(self.inputs) > 1:
            raise RequestError.of("inputs", len(self.inputs), "one picture, or none")
        if len(self.handle_points()) != len(self.target_points()):
            count = f"{len(self.handle_points())} handles and {len(self.target_points())} targets"
            raise RequestError(f"{count}: each handle needs a target")
        for name, low, high in (
            ("stillness", 0.0, 1000.0), ("steps", 1, 1000), ("psi", 0.0, 1.0), ("search", 0, 10_000),
            ("tuning", 0, 10_000),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise RequestError.of(name, getattr(self, name), f"between {low:g} and {high:g}")
        if self.rate is not None and not 1e-5 <= self.rate <= 1.0:
            raise RequestError.of("rate", self.rate, "between 0.00001 and 1")
        if not 0 <= self.seed < 2**31:
            raise RequestError.of("seed", self.seed, "between 0 and 2**31 - 1")

    def handle_points(self) -> list[tuple[float, float]]:
        """Handles as columns and rows."""
        return read_points("handles", self.handles)

    def target_points(self) -> list[tuple[float, float]]:
        """Targets as columns and rows."""
        return read_points("targets", self.targets)


def infer(model: DragGan, request: DragGanRequest, report: Report) -> DragResult:
    """Draws or looks for a picture, then drags it.

    Args:
        model: The networks.
        request: What to drag where.
        report: Called after every step; may raise `Cancelled`.

    Raises:
        RequestError: A point is outside the picture, or the size has no such kind.
    """
    canvas = _canvas(model, request, report)
    session = DragSession(canvas, canvas.latent, settings_of(model.config, request))
    handles = request.handle_points()
    way = DragFrames()
    if handles:
        _add(way, session.place(handles, request.target_points(), _mask(model.config, request)))
        while not session.done:
            step = session.step()
            _add(way, step)
            show = _preview(step, request.target_points())
            report(Progress(step=step.number, total=request.steps, stage="drag", preview=show))
    else:
        _add(way, session.state)
    last = session.state
    return way.result(
        targets=np.array(request.target_points(), dtype=np.float32).reshape(-1, 2),
        latent=canvas.whole(session.latent)[0].cpu().numpy(),
        arrived=last.arrived,
        seed=request.seed,
        settings={"steps": last.number, "space": request.space.value, "tracker": request.tracker.value},
    )


def _add(way: DragFrames, step: DragStep) -> None:
    way.add(step.number, _pixels(step), step.points.cpu().numpy())


def settings_of(config: DragGanConfig, request: DragGanRequest) -> DragSettings:
    """How a request is dragged."""
    settings = drag_settings(config)
    trackers: dict[Following, Tracker] = {
        Following.FEATURES: NearestFeature(radius=config.window),
        Following.FLOW: OpticalFlow(),
        Following.NONE: Assumed(),
    }
    rate = settings.rate if request.rate is None else request.rate
    return replace(
        settings, rate=rate, stillness=request.stillness, steps=request.steps, tracker=trackers[request.tracker]
    )


def dragger(model: DragGan) -> GanDragger:
    """The model where people drag pictures."""
    return GanDragger(model)


def files(request: DragGanRequest) -> tuple[str | Path, ...]:
    """The files that a request reads."""
    return (*request.inputs, *(() if request.mask is None else (request.mask,)))


def _canvas(model: DragGan, request: DragGanRequest, report: Report) -> GanCanvas:
    """The picture to drag: drawn, or looked for."""
    kind, generator = kind_number(model.config, request.kind), model.generator
    if request.inputs:
        picture = read_picture(request.inputs[0])
        how = Inversion(steps=request.search, tuning=request.tuning)

        def told(step: int, total: int, stage: str) -> None:
            report(Progress(step=step, total=total, stage=stage))

        styles = invert(model, picture, how, kind, told)
        if how.tuning:
            generator = tuned(model, picture, styles, how, told)
    else:
        styles = draw_styles(model, request.seed, kind or 0, request.psi)
    return GanCanvas(generator, model.config, styles, shared=request.space is Space.W)


def _mask(config: DragGanConfig, request: DragGanRequest) -> torch.Tensor | None:
    if request.mask is None:
        return None
    square = fit_picture(read_picture(request.mask), config.network.resolution)
    return torch.from_numpy((square.mean(axis=2) >= 128).astype(np.float32))


def _preview(step: DragStep, targets: list[tuple[float, float]]) -> Any:
    return lambda: marked(_pixels(step), step.points.cpu().numpy(), np.array(targets, dtype=np.float32))


def _pixels(step: DragStep) -> np.ndarray:
    return tensor_to_pictures(step.picture())[0]
