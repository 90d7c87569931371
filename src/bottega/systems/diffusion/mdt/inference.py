"""Running MDT: class names to pictures. The only code that users run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from bottega.data import tensor_to_pictures
from bottega.errors import RequestError
from bottega.processes.diffusion import (
    DpmSolverPp2m,
    Epsilon,
    LinspaceGrid,
    PowerCosine,
    Prior,
    RangedDdpm,
    StepReport,
    TrailingGrid,
)
from bottega.results import PicturesResult
from bottega.room import Progress, Report
from bottega.systems.diffusion.mdt.model import MdtPipeline
from bottega.systems.diffusion.mdt.objective import PATH, NoisePredictor, denoiser, ranged_denoiser
from bottega.training import draw_generators
from bottega.worlds.emoji import HasCaption, class_number, class_of_sample

MAX_ITEMS = 256
GUIDED_CHANNELS = 3
"""The published samples guide three of the four channels of a latent; of pixels these are all."""


class Sampler(Enum):
    """How pictures are drawn."""

    QUICK = "quick"
    """DPM-Solver++ 2M, good from 10 steps on."""
    ANCESTRAL = "ancestral"
    """The paper's: DDPM with the learned variances, 250 steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MdtRequest:
    """What to draw with MDT."""

    inputs: tuple[str, ...] = ()
    """Names or numbers of classes; none for pictures of classes drawn by chance."""
    count: int = 1
    """How many to draw of each class, 1 to 256 in all."""
    steps: int = 25
    """Denoising steps, 1 to 1000."""
    guidance: float = 3.8
    """How strongly the class pulls in the last steps, 0 to 50; 1 is no guidance."""
    power: float = 4.0
    """How late guidance comes, above 0 to 20; near 0 it is equally strong in all steps."""
    sampler: Sampler = Sampler.QUICK
    """The solver: quick, or the paper's ancestral one."""
    seed: int = 0
    """The same seed makes the same bits, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        items = self.count * max(len(self.inputs), 1)
        for name, value, fits, allowed in (
            ("count", self.count, 1 <= items <= MAX_ITEMS, f"at least 1, and at most {MAX_ITEMS} items in all"),
            ("steps", self.steps, 1 <= self.steps <= PATH.steps, f"between 1 and {PATH.steps}"),
            ("guidance", self.guidance, 0 <= self.guidance <= 50, "between 0 and 50"),
            ("power", self.power, 0 < self.power <= 20, "above 0 and at most 20"),
            ("seed", self.seed, 0 <= self.seed < 2**31, "between 0 and 2**31 - 1"),
        ):
            if not fits:
                raise RequestError.of(name, value, allowed)


@torch.inference_mode()
def infer(model: MdtPipeline, request: MdtRequest, report: Report) -> PicturesResult:
    """Draws the pictures.

    Args:
        model: The pipeline.
        request: What to draw.
        report: Called after every denoising step; may raise `Cancelled`.

    Raises:
        RequestError: A class is unknown.
    """
    labels = chosen_classes(model, request)

    def after_step(step: int, total: int, x: Tensor, x0: Tensor) -> None:
        show: Callable[[], np.ndarray] = lambda: tensor_to_pictures(model.to_pictures(x0[:1].to(x.dtype)))[0]  # noqa: E731
        report(Progress(step=step, total=total, stage="denoise", preview=show))

    names = model.config.class_names
    return PicturesResult(
        pictures=tensor_to_pictures(model.to_pictures(draw(model, labels, request, after_step))),
        captions=tuple(names[label] if names else f"class {label}" for label in labels),
        seed=request.seed,
        settings={
            "steps": request.steps, "guidance": request.guidance, "power": request.power,
            "sampler": request.sampler.value,
        },
    )  # fmt: skip


def draw(model: MdtPipeline, labels: Sequence[int], request: MdtRequest, report: StepReport) -> Tensor:
    """Signals `(len(labels), channels, size, size)`; item i depends on the seed, its class and i alone."""
    trunk, like = model.config.trunk, next(model.network.parameters())
    ancestral = request.sampler is Sampler.ANCESTRAL
    start = torch.stack([
        torch.randn(trunk.channels, trunk.size, trunk.size, generator=generator)
        for generator in draw_generators(request.seed, len(labels))
    ])  # fmt: skip
    guidance = PowerCosine(
        scale=request.guidance, null_cond=_null(model), power=request.power, horizon=float(PATH.steps),
        channels=GUIDED_CHANNELS,
    )  # fmt: skip
    guided = guidance(ranged_denoiser(model.network) if ancestral else denoiser(model.network))
    times = (LinspaceGrid(request.steps) if ancestral else TrailingGrid(request.steps))(PATH)
    solver = RangedDdpm() if ancestral else DpmSolverPp2m()
    return solver(
        guided, start.to(like), times, PATH, cond=torch.tensor(labels, device=like.device),
        generator=torch.Generator().manual_seed(request.seed), report=report,
    )  # fmt: skip


def chosen_classes(model: MdtPipeline, request: MdtRequest) -> list[int]:
    """The class of each item; where none is named each item draws its own."""
    config = model.config
    named = [class_number(config.class_names, config.trunk.classes, text) for text in request.inputs]
    if named:
        return [number for number in named for _ in range(request.count)]
    chance = draw_generators(request.seed + 1, request.count)
    return [int(torch.randint(config.trunk.classes, (), generator=generator)) for generator in chance]


def prior(model: MdtPipeline) -> Prior:
    """MDT as rooms see it that work on any diffusion model."""
    config = model.config
    names, classes = config.class_names, config.trunk.classes

    def condition(inputs: Sequence[str]) -> Tensor:
        numbers = [class_number(names, classes, text) if text else classes for text in inputs]
        return torch.tensor(numbers, device=next(model.network.parameters()).device)

    def input_of(sample: HasCaption) -> str:
        number = class_of_sample(names, sample)
        return "" if number is None else names[number]

    return Prior(
        network=NoisePredictor(model.network),
        path=PATH,
        prediction=Epsilon(),
        shape=(config.trunk.channels, config.trunk.size, config.trunk.size),
        to_pictures=model.to_pictures,
        from_pictures=model.to_signal,
        size=config.picture_size,
        condition=condition,
        null_cond=_null(model),
        input_of=input_of,
    )


def _null(model: MdtPipeline) -> Tensor:
    """The class that stands for any, of one row."""
    return torch.tensor([model.config.trunk.classes], device=next(model.network.parameters()).device)
