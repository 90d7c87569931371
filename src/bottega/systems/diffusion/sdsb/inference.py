"""Running Simplified DSB: points on their way as an animation, pictures of one kind as those of the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bottega.data import Crop, fit_picture, pictures_to_tensor, read_picture, tensor_to_pictures
from bottega.errors import RequestError
from bottega.processes.bridge import roll_out
from bottega.results import PicturesResult, points
from bottega.room import Progress, Report
from bottega.systems.diffusion.sdsb.config import End, NoiseEnd, PointsEnd, SdsbConfig, ToneEnd
from bottega.systems.diffusion.sdsb.model import Sdsb
from bottega.worlds.emoji import load_index, reference_pictures
from bottega.worlds.planar import planar_points

EXTENT = 1.25
MAX_PICTURES = 256


class Direction(Enum):
    """Which way."""

    THERE = "there"
    """From the first end to the second: moons to a checkerboard, light to dark."""
    BACK = "back"
    """From the second end to the first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SdsbRequest:
    """What to carry from one end of the bridge to the other."""

    inputs: tuple[str, ...] = ()
    """Pictures to translate; none for samples of the end that comes with the package. Points take none."""
    direction: Direction = Direction.THERE
    """Which way."""
    count: int = 8
    """How many pictures to draw from the bundled end, 1 to 256."""
    points: int = 800
    """How many points to show, 1 to 20000."""
    stages: bool = False
    """Whether to show every step of the first picture's way; of points every step is always shown."""
    seed: int = 0
    """The same seed makes the same bits, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        for name, low, high in (("count", 1, MAX_PICTURES), ("points", 1, 20_000), ("seed", 0, 2**31 - 1)):
            if not low <= getattr(self, name) <= high:
                raise RequestError.of(name, getattr(self, name), f"between {low} and {high}")


def files(request: SdsbRequest) -> tuple[str, ...]:
    """The files that a request reads."""
    return request.inputs


@torch.inference_mode()
def infer(model: Sdsb, request: SdsbRequest, report: Report) -> PicturesResult:
    """Carries points or pictures over.

    Raises:
        RequestError: Points take no inputs; or there are no inputs and the end is not bundled.
        FileError: A picture cannot be read.
    """
    config, there = model.config, request.direction is Direction.THERE
    end = config.first if there else config.second
    if config.points:
        if request.inputs:
            raise RequestError(f"points take no inputs, but {len(request.inputs)} were given; leave them out")
        start = bundled_states(model, end, request.points, torch.Generator().manual_seed(request.seed))
        return _animation(carried(model, start, request, report), request, config)
    start = _given(model, request.inputs) if request.inputs else bundled_states(
        model, end, request.count, torch.Generator().manual_seed(request.seed)
    )  # fmt: skip
    path = carried(model, start, request, report)
    shown = path[:, 0] if request.stages else path[-1]
    captions = [f"step {number}" for number in range(len(path))] if request.stages else _captions(request, len(start))
    return PicturesResult(
        pictures=tensor_to_pictures(model.to_pictures(shown)), captions=tuple(captions), seed=request.seed,
        settings={"direction": request.direction.value, "steps": config.steps},
    )  # fmt: skip


def carried(model: Sdsb, start: Tensor, request: SdsbRequest, report: Report) -> Tensor:
    """The states on the way, `(steps + 1, batch, ...)`."""
    gammas, there = model.config.gammas, request.direction is Direction.THERE
    way = model.way(there=there)

    def told(x: Tensor, step: int) -> Tensor:
        report(Progress(step=step + 1, total=gammas.steps, stage=request.direction.value))
        return way(x, step)

    return roll_out(told, start, gammas, torch.Generator().manual_seed(request.seed + 1), last_noise=False)


def bundled_states(model: Sdsb, end: End, count: int, generator: torch.Generator) -> Tensor:
    """States of an end that comes with the package.

    Raises:
        RequestError: It does not.
    """
    device = model.like.device
    match end:
        case PointsEnd(kind=kind):
            return planar_points(kind, count, generator).to(device)
        case NoiseEnd():
            return torch.randn((count, *model.config.shape), generator=generator).to(device)
        case ToneEnd(tone=tone):
            tiles = tone_pictures(tone, model.config.picture_size)
            rows = torch.randint(len(tiles), (count,), generator=generator)
            return model.to_states(tiles[rows].to(device))
    raise RequestError(f"this size goes between {end.what} and others, which do not come with bottega; give pictures")


@cache
def tone_pictures(tone: str, size: int) -> Tensor:
    """Emoji of one person with a skin tone, `(n, 3, size, size)` in [-1, 1]."""
    tiles = reference_pictures("all", size)[0]
    rows = [emoji.id for emoji in load_index() if emoji.skin_tones == (tone,)]
    return pictures_to_tensor(tiles[rows])


def _given(model: Sdsb, inputs: Sequence[str | Path]) -> Tensor:
    squares = [fit_picture(read_picture(path), model.config.picture_size, how=Crop()) for path in inputs]
    pictures = pictures_to_tensor(np.stack(squares))
    return model.to_states(pictures.to(model.like.device))


def _captions(request: SdsbRequest, count: int) -> list[str]:
    sources = [Path(path).name for path in request.inputs] or [f"sample {number}" for number in range(1, count + 1)]
    return [f"{source}, {request.direction.value}" for source in sources]


def _animation(path: Tensor, request: SdsbRequest, config: SdsbConfig) -> PicturesResult:
    captions = [f"step {number} of {config.steps}" for number in range(len(path))]
    frames = [
        points({"points": cloud.cpu().numpy()}, caption, extent=EXTENT)
        for cloud, caption in zip(path, captions, strict=True)
    ]
    settings = {"direction": request.direction.value, "points": request.points}
    return PicturesResult(pictures=np.stack(frames), captions=tuple(captions), seed=request.seed, settings=settings)
