"""Running score networks: their field, its error, where Langevin dynamics on it end, and what learning it costs."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion import GaussianMixture, langevin_dynamics
from bottega.results import PicturesResult
from bottega.room import Progress, Report
from bottega.systems.diffusion.score_matching.config import MOST_DIMENSIONS, Method
from bottega.systems.diffusion.score_matching.model import ScoreMatching
from bottega.systems.diffusion.score_matching.objective import backward_passes, two_modes
from bottega.systems.diffusion.score_matching.sampling import MARK, PAPER, Plane, arrows, curves, dots, heat, shade

ARROWS, CELLS = 21, 96
START = 8.0
"""Langevin dynamics start evenly in the square from -8 to 8."""


class Mode(enum.Enum):
    """What to draw."""

    FIELD = "field"
    """Arrows: the learned score beside the true one."""
    ERROR = "error"
    """Where the learned score is wrong, and where the data are."""
    LANGEVIN = "langevin"
    """Where plain Langevin dynamics end, on the learned score and on the true one."""
    COST = "cost"
    """Backward passes of each loss as the dimension grows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreMatchingRequest:
    """What to draw of a score network."""

    inputs: tuple[str, ...] = ()
    """Points "x,y" at which to mark the field and say the score; in more dimensions y stands for all but the first."""
    mode: Mode = Mode.FIELD
    """What to draw."""
    method: Method = Method.SLICED_VR
    """Which loss the network learned with."""
    span: float = 8.0
    """The picture reaches from -span to span, 1 to 100."""
    size: int = 384
    """Side of a picture in pixels, 64 to 2048."""
    points: int = 1000
    """Data points, or Langevin chains, to draw, 1 to 20000."""
    steps: int = 500
    """Langevin steps, 1 to 100000."""
    step_size: float = 0.05
    """Langevin step size, above 0, at most 1."""
    seed: int = 0
    """The same seed makes the same bits, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        for text in self.inputs:
            point(text)
        for name, low, high in (("span", 1, 100), ("size", 64, 2048), ("points", 1, 20_000), ("steps", 1, 100_000)):
            if not low <= getattr(self, name) <= high:
                raise RequestError.of(name, getattr(self, name), f"between {low} and {high}")
        if not 0 < self.step_size <= 1:
            raise RequestError.of("step_size", self.step_size, "above 0, at most 1")
        if not 0 <= self.seed < 2**31:
            raise RequestError.of("seed", self.seed, "between 0 and 2**31 - 1")


def point(text: str) -> tuple[float, float]:
    """A point of the plane from "x,y".

    Raises:
        RequestError: It is none.
    """
    parts = text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != 2 or not all(math.isfinite(number) for number in numbers):
        raise RequestError.of("the point", text, 'two numbers with a comma between, such as "0,2.5"')
    return numbers[0], numbers[1]


@torch.inference_mode()
def infer(model: ScoreMatching, request: ScoreMatchingRequest, report: Report) -> PicturesResult:
    """Draws the pictures: of the network first, then, for field and langevin, of the truth.

    Args:
        model: The score networks.
        request: What to draw.
        report: Called as the work goes on; may raise `Cancelled`.

    Raises:
        RequestError: The size has no network for this loss.
    """
    pair = Pair(model, request.method)
    match request.mode:
        case Mode.FIELD:
            made = _fields(pair, request, report)
        case Mode.ERROR:
            made = _error(pair, request, report)
        case Mode.LANGEVIN:
            made = _langevin(pair, request, report)
        case Mode.COST:
            made = _cost(model, request, report)
    settings = {"mode": request.mode.value, "method": request.method.value}
    settings |= {f"score at {text}": pair.said(point(text)) for text in request.inputs}
    captions, pictures = tuple(made), np.stack(list(made.values()))
    return PicturesResult(pictures=pictures, captions=captions, seed=request.seed, settings=settings)


class Pair:
    """A learned score and the true one, on the plane through both modes: (x, y) stands for (x, y, ..., y).

    Args:
        model: The score networks.
        method: The loss that the network learned with.
    """

    def __init__(self, model: ScoreMatching, method: Method) -> None:
        self.model, self.method, self.dim = model, method, model.config.network.dim
        self.truth: GaussianMixture = two_modes(self.dim)
        self.like = next(model.parameters())

    def learned(self, x: Tensor) -> Tensor:
        """The network's scores at points `(n, dim)`, in double on the CPU."""
        return self.model(x.to(self.like), self.method).to("cpu", torch.float64)

    def lifted(self, points: np.ndarray) -> Tensor:
        """Points of the plane `(n, 2)` as points `(n, dim)`."""
        flat = torch.from_numpy(points)
        return torch.cat((flat[:, :1], flat[:, 1:].expand(-1, self.dim - 1)), dim=1)

    def seen(self, x: Tensor) -> np.ndarray:
        """Points or vectors `(n, dim)` on the plane: the first number, and the mean of the others, `(n, 2)`."""
        return torch.stack((x[:, 0], x[:, 1:].mean(1)), dim=1).numpy()

    def said(self, place: tuple[float, float]) -> str:
        """The learned score at a point of the plane, beside the true one, in words."""
        x = self.lifted(np.array([place]))
        learned, true = (self.seen(score)[0] for score in (self.learned(x), self.truth.score(x)))
        return f"({learned[0]:.3f}, {learned[1]:.3f}), truly ({true[0]:.3f}, {true[1]:.3f})"


def _fields(pair: Pair, request: ScoreMatchingRequest, report: Report) -> dict[str, np.ndarray]:
    plane = Plane(span=request.span, size=request.size)
    ground = pair.truth.log_prob(pair.lifted(plane.grid(CELLS))).exp().view(CELLS, CELLS).numpy()
    places, made = plane.grid(ARROWS), {}
    scores = {f"score learned by {pair.method.value}": pair.learned, "true score": pair.truth.score}
    for number, (name, score) in enumerate(scores.items(), 1):
        image = shade(ground, plane)
        arrows(image, plane, places, pair.seen(score(pair.lifted(places))), ARROWS)
        _mark(image, plane, request)
        made[name] = np.asarray(image)
        report(Progress(step=number, total=len(scores), stage="draw"))
    return made


def _error(pair: Pair, request: ScoreMatchingRequest, report: Report) -> dict[str, np.ndarray]:
    plane = Plane(span=request.span, size=request.size)
    x = pair.lifted(plane.grid(CELLS))
    error = (pair.learned(x) - pair.truth.score(x)).norm(dim=1)
    image = heat(error.log10().clamp(min=-6).view(CELLS, CELLS).numpy(), plane, -2.0, 1.0)
    data = pair.truth.sample(request.points, torch.Generator().manual_seed(request.seed))
    dots(image, plane, pair.seen(data), PAPER, 0.7)
    _mark(image, plane, request)
    report(Progress(step=1, total=1, stage="draw"))
    at_data = float((pair.learned(data) - pair.truth.score(data)).norm(dim=1).mean())
    name = (
        f"error of {pair.method.value}, dark 0.01 to bright 10: {at_data:.2g} at data, {float(error.mean()):.2g} here"
    )
    return {name: np.asarray(image)}


def _langevin(pair: Pair, request: ScoreMatchingRequest, report: Report) -> dict[str, np.ndarray]:
    plane, made = Plane(span=request.span, size=request.size), {}
    ground = pair.truth.log_prob(pair.lifted(plane.grid(CELLS))).exp().view(CELLS, CELLS).numpy()
    scores = {f"Langevin on {pair.method.value}": pair.learned, "Langevin on the true score": pair.truth.score}
    for number, (name, score) in enumerate(scores.items()):
        generator = torch.Generator().manual_seed(request.seed)
        x = START * (2 * torch.rand(request.points, pair.dim, generator=generator, dtype=torch.float64) - 1)

        def after(step: int, total: int, _: Tensor, base: int = number * request.steps) -> None:
            report(Progress(step=base + step, total=total * len(scores), stage="sample"))

        x = langevin_dynamics(score, x, step=request.step_size, steps=request.steps, generator=generator, report=after)
        image = shade(ground, plane)
        dots(image, plane, pair.seen(x), MARK)
        share = float((x.sum(1) > 0).double().mean())
        made[f"{name}: {share:.2f} at the upper mode, which holds 0.80"] = np.asarray(image)
    return made


def _cost(model: ScoreMatching, request: ScoreMatchingRequest, report: Report) -> dict[str, np.ndarray]:
    dims, lines = [2**power for power in range(1, MOST_DIMENSIONS.bit_length())], {}
    for number, method in enumerate((Method.EXACT, Method.SLICED), 1):
        lines[method.value] = [(dim, backward_passes(method, model.config, dim)) for dim in dims]
        report(Progress(step=number, total=2, stage="count"))
    return {"what a loss costs": curves(lines, request.size, "dimension", "backward passes")}


def _mark(image: Image.Image, plane: Plane, request: ScoreMatchingRequest) -> None:
    if request.inputs:
        dots(image, plane, np.array([point(text) for text in request.inputs]), MARK, 3.0)
