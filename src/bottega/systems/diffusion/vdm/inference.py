"""Running VDM: pictures out of nothing, the bits of given pictures, and the learned schedule as a figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from bottega.data import Crop, fit_picture, read_picture, tensor_to_pictures
from bottega.errors import RequestError
from bottega.processes.diffusion import Ddpm, Denoised, Epsilon, Prior, from_levels, to_levels
from bottega.results import PicturesResult, curves
from bottega.room import Progress, Report
from bottega.systems.diffusion.vdm.model import NoiseAtTime, Vdm
from bottega.systems.diffusion.vdm.objective import picture_bits
from bottega.training import draw_generators
from bottega.worlds.emoji import reference_pictures

MAX_ITEMS = 256


class Mode(Enum):
    """What to make."""

    DRAW = "draw"
    """Pictures."""
    BITS = "bits"
    """The bits that each given picture costs; of held-out emoji where none is given."""
    SCHEDULE = "schedule"
    """The learned schedule as curves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VdmRequest:
    """What to make with VDM."""

    inputs: tuple[str, ...] = ()
    """Pictures to count the bits of."""
    mode: Mode = Mode.DRAW
    """Pictures, bits, or the schedule."""
    count: int = 4
    """How many pictures to draw, or held-out emoji to count the bits of, 1 to 256."""
    steps: int = 100
    """Denoising steps, 1 to 10000; for bits, draws of time and noise for each picture."""
    seed: int = 0
    """The same seed makes the same bits, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if self.inputs and self.mode is not Mode.BITS:
            raise RequestError(f"{self.mode.value} takes no inputs, but {len(self.inputs)} were given; leave them out")
        for name, low, high in (("count", 1, MAX_ITEMS), ("steps", 1, 10_000), ("seed", 0, 2**31 - 1)):
            if not low <= getattr(self, name) <= high:
                raise RequestError.of(name, getattr(self, name), f"between {low} and {high}")


def files(request: VdmRequest) -> tuple[str, ...]:
    """The files that a request reads."""
    return request.inputs


@torch.inference_mode()
def infer(model: Vdm, request: VdmRequest, report: Report) -> PicturesResult:
    """Makes what the request says.

    Raises:
        FileError: A picture cannot be read.
    """
    match request.mode:
        case Mode.DRAW:
            return _draw_result(model, request, report)
        case Mode.BITS:
            return _bits_result(model, request, report)
        case Mode.SCHEDULE:
            report(Progress(step=1, total=1, stage="draw the curves"))
            figure = schedule_figure(model)
            return PicturesResult(pictures=figure[None], captions=("the learned schedule",), seed=request.seed)


def _draw_result(model: Vdm, request: VdmRequest, report: Report) -> PicturesResult:
    def after_step(step: int, total: int, x: Tensor, x0: Tensor) -> None:
        show: Callable[[], np.ndarray] = lambda: tensor_to_pictures(x0[:1])[0]  # noqa: E731
        report(Progress(step=step, total=total, stage="denoise", preview=show))

    generators = draw_generators(request.seed, request.count)
    made = draw(model, generators, request.steps, after_step)
    return PicturesResult(pictures=tensor_to_pictures(made), seed=request.seed, settings={"steps": request.steps})


def draw(
    model: Vdm,
    generators: list[torch.Generator],
    steps: int,
    report: Callable[[int, int, Tensor, Tensor], None] = lambda *_: None,
) -> Tensor:
    """Pictures `(batch, 3, size, size)` in [-1, 1] by ancestral sampling at even times, decoded from z_0.

    Source: arXiv:2107.00630 appendix G.
    """
    known, path = prior(model), model.path
    times = [1.0 - i / steps for i in range(steps + 1)]
    noise = torch.Generator().manual_seed(generators[0].initial_seed() % 2**31)
    x = Ddpm()(known.denoiser(), known.start(generators, 1.0), times, path, generator=noise, report=report)
    return from_levels(to_levels(x / path.alpha(0.0)))


def _bits_result(model: Vdm, request: VdmRequest, report: Report) -> PicturesResult:
    size = model.config.size
    if request.inputs:
        squares = np.stack([fit_picture(read_picture(path), size, how=Crop()) for path in request.inputs])
    else:
        tiles = reference_pictures("heldout", size)[0]
        squares = tiles[np.random.default_rng(request.seed).permutation(len(tiles))[: request.count]]
    levels = torch.from_numpy(squares).permute(0, 3, 1, 2).to(model.schedule.ends.device)
    found = []
    for number, picture in enumerate(levels, 1):
        generator = torch.Generator(levels.device).manual_seed(request.seed)
        copies = picture.expand(request.steps, *picture.shape)
        found.append(float(picture_bits(model, copies, generator).total.mean()))
        report(Progress(step=number, total=len(levels), stage="count bits"))
    captions = tuple(f"{bits:.2f} bits per dimension, {bits * model.config.dims / 8:.0f} bytes" for bits in found)
    settings = {"draws": request.steps, "bits per dimension": found}
    return PicturesResult(pictures=squares, captions=captions, seed=request.seed, settings=settings)


def prior(model: Vdm) -> Prior:
    """The model as rooms see it that work on any diffusion model."""
    size = model.config.size
    return Prior(
        network=NoiseAtTime(model),
        path=model.path,
        prediction=Epsilon(),
        shape=(3, size, size),
        to_pictures=lambda states: states,
        from_pictures=lambda pictures: pictures,
        size=size,
    )


def denoiser(model: Vdm) -> Denoised:
    """The model as solvers take it."""
    return prior(model).denoiser()


def schedule_figure(model: Vdm) -> np.ndarray:
    """The signal-to-noise ratio over time, learned and straight."""
    t = torch.linspace(0, 1, 200, dtype=torch.float64)
    learned = model.path.gamma(t)
    straight = learned[0] + (learned[-1] - learned[0]) * t
    lines = {"learned": (t.numpy(), -learned.numpy()), "straight": (t.numpy(), -straight.numpy())}
    return curves(lines, "log signal-to-noise ratio", "time", "log SNR")
