"""Running NCSN: pictures from noise, rows of pictures that turn into each other, and pictures completed."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from bottega.data import Crop, fit_picture, pictures_to_tensor, read_picture, tensor_to_pictures
from bottega.errors import RequestError
from bottega.processes.diffusion import AnnealedLangevin, langevin_step_size
from bottega.results import PicturesResult
from bottega.room import Progress, Report
from bottega.systems.diffusion.ncsn.model import Ncsn
from bottega.systems.diffusion.ncsn.sampling import (
    Draw,
    Known,
    anneal,
    between,
    from_pictures,
    prior,
    separate,
    to_pictures,
)
from bottega.training import draw_generators

MAX_ITEMS = 256


class Mode(enum.Enum):
    """What to make."""

    SAMPLE = "sample"
    """Pictures from noise."""
    INTERPOLATE = "interpolate"
    """Rows of pictures that turn from one into another."""
    INPAINT = "inpaint"
    """Half a picture, completed."""


class Side(enum.Enum):
    """Half of a picture."""

    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"


@dataclass(frozen=True, kw_only=True, slots=True)
class NcsnRequest:
    """What to make with NCSN."""

    inputs: tuple[str, ...] = ()
    """Files of the pictures to complete; none for the other modes."""
    mode: Mode = Mode.SAMPLE
    """What to make."""
    count: int = 1
    """How many: pictures, rows of eight for interpolate, completions of each input; 1 to 256 pictures in all."""
    keep: Side = Side.LEFT
    """Which half of the picture inpaint keeps."""
    annealed: bool = True
    """Go down through all noise levels; else plain Langevin dynamics at the last, with as many steps in all."""
    levels: int | None = None
    """Noise levels to visit, 2 to 10000, evenly chosen. Left out: those that the size was trained on."""
    steps_per_level: int | None = None
    """Langevin steps at each level, 1 to 1000. Left out: the published number."""
    seed: int = 0
    """The same seed makes the same bits, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if not 1 <= self.items <= MAX_ITEMS:
            raise RequestError.of("count", self.count, f"at least 1, and at most {MAX_ITEMS} pictures in all")
        if self.levels is not None and not 2 <= self.levels <= 10_000:
            raise RequestError.of("levels", self.levels, "between 2 and 10000")
        if self.steps_per_level is not None and not 1 <= self.steps_per_level <= 1000:
            raise RequestError.of("steps_per_level", self.steps_per_level, "between 1 and 1000")
        if not 0 <= self.seed < 2**31:
            raise RequestError.of("seed", self.seed, "between 0 and 2**31 - 1")
        if self.inputs and self.mode is not Mode.INPAINT:
            raise RequestError(f"{self.mode.value} takes no inputs, but {len(self.inputs)} were given; leave them out")

    @property
    def items(self) -> int:
        """Pictures in all."""
        if self.mode is Mode.INTERPOLATE:
            return self.count * ROW
        return self.count * max(len(self.inputs), 1)


ROW = 8
"""Pictures in a row of interpolate."""


def files(request: NcsnRequest) -> tuple[str, ...]:
    """The files that a request reads."""
    return request.inputs


@torch.inference_mode()
def infer(model: Ncsn, request: NcsnRequest, report: Report) -> PicturesResult:
    """Makes the pictures.

    Args:
        model: The score network.
        request: What to make.
        report: Called after every Langevin step; may raise `Cancelled`.

    Raises:
        RequestError: Inpaint was given no picture.
        FileError: A picture cannot be read.
    """
    known = _known(model, request) if request.mode is Mode.INPAINT else None
    channels = model.config.channels

    def after_step(step: int, total: int, x0: Tensor) -> None:
        show: Callable[[], np.ndarray] = lambda: tensor_to_pictures(to_pictures(x0[:1], channels))[0]  # noqa: E731
        report(Progress(step=step, total=total, stage="denoise", preview=show))

    states = draw(model, request, known=known, report=after_step)
    settings = {"mode": request.mode.value, "annealed": request.annealed}
    return PicturesResult(
        pictures=tensor_to_pictures(to_pictures(states, channels)), seed=request.seed, settings=settings
    )


def draw(
    model: Ncsn,
    request: NcsnRequest,
    *,
    known: Known | None = None,
    told: Mapping[float, float] = MappingProxyType({}),
    report: Callable[[int, int, Tensor], None] = lambda *_: None,
) -> Tensor:
    """Draws states `(items, channels, size, size)` with pixels in [0, 1] or a little outside.

    Args:
        model: The score network.
        request: How many, and how.
        known: Pixels to keep.
        told: What the network is told in place of a level; for controls.
        report: As `anneal` calls it.
    """
    source, (sigmas, solver) = prior(model), plan(model, request)
    turns, denoiser = request.mode is Mode.INTERPOLATE, source.denoiser()
    starts = draw_generators(request.seed, request.count if turns else request.items)
    x = torch.stack([torch.rand(source.shape, generator=generator) for generator in starts])
    noise: Draw = separate(starts, source.shape)
    if turns:
        noise = between(noise, separate(draw_generators(request.seed + 1, request.count), source.shape), ROW)
        x = x.repeat_interleave(ROW, dim=0)
    like = source.like
    return anneal(
        lambda state, sigma, condition: denoiser(state.to(like.dtype), told.get(float(sigma), sigma), condition),
        x.to(like.device), sigmas, solver, lambda: noise().to(like.device), known=known, report=report,
    )  # fmt: skip


def plan(model: Ncsn, request: NcsnRequest) -> tuple[tuple[float, ...], AnnealedLangevin]:
    """The levels and the solver of a request.

    Other levels or steps than the published ones get the step size of NCSNv2's fourth rule.
    """
    levels = model.config.levels
    chosen = replace(
        levels,
        count=request.levels or levels.count,
        steps_per_level=request.steps_per_level or levels.steps_per_level,
    )
    step = levels.step
    if chosen != levels:
        step = langevin_step_size(chosen.ratio, chosen.last, chosen.steps_per_level)
    sigmas, steps = chosen.sigmas(), chosen.steps_per_level
    if not request.annealed:
        sigmas, steps = sigmas[-1:], steps * len(sigmas)
    return sigmas, AnnealedLangevin(step=step, steps_per_level=steps, denoise=model.config.denoise)


def _known(model: Ncsn, request: NcsnRequest) -> Known:
    if not request.inputs:
        raise RequestError("inpaint needs a picture to complete; give a file")
    size, device = model.config.size, prior(model).like.device
    squares = [fit_picture(read_picture(path), size, how=Crop()) for path in request.inputs]
    pictures = pictures_to_tensor(np.stack(squares))
    states = from_pictures(pictures, model.config.channels).repeat_interleave(request.count, dim=0).to(device)
    across = torch.arange(size, device=device) < size // 2
    mask = across if request.keep in (Side.LEFT, Side.TOP) else across.flip(0)
    return Known(pictures=states, mask=mask[:, None] if request.keep in (Side.TOP, Side.BOTTOM) else mask)
