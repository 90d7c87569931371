"""Running U-ViT: class names or words to pictures. The only code that users run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bottega.data import tensor_to_pictures
from bottega.errors import RequestError
from bottega.processes.diffusion import (
    ClassifierFree,
    Denoiser,
    DiscreteVp,
    DpmSolverPp2m,
    LogSnrGrid,
    Path,
    Prior,
    Taps,
    TrailingGrid,
)
from bottega.results import PicturesResult
from bottega.room import Progress, Report
from bottega.systems.diffusion.uvit.config import ClassCondition, NoCondition, TextCondition
from bottega.systems.diffusion.uvit.model import UVitPipeline
from bottega.systems.diffusion.uvit.objective import NoisePredictor, denoiser, noise_path
from bottega.training import draw_generators
from bottega.worlds.emoji import HasCaption, class_number, class_of_sample

MAX_ITEMS = 256
GUIDANCE = 2.0
"""What `guidance` None means where guidance is possible; the published settings are 1.4 to 2."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UVitRequest:
    """What to make with U-ViT."""

    inputs: tuple[str, ...] = ()
    """Names or numbers of classes, or prompts, as the size takes them; none for pictures of any kind."""
    count: int = 1
    """How many to make of each input, 1 to 256 in all."""
    steps: int = 25
    """Denoising steps, 1 to 1000."""
    guidance: float | None = None
    """How strongly the class or text pulls, 0 to 50; 1 is no guidance. Left out: 2 where guidance is possible."""
    seed: int = 0
    """The same seed makes the same bits, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if not 1 <= self.count * max(len(self.inputs), 1) <= MAX_ITEMS:
            raise RequestError.of("count", self.count, f"at least 1, and at most {MAX_ITEMS} items in all")
        if not 1 <= self.steps <= 1000:
            raise RequestError.of("steps", self.steps, "between 1 and 1000")
        if self.guidance is not None and not 0.0 <= self.guidance <= 50.0:
            raise RequestError.of("guidance", self.guidance, "between 0 and 50")
        if not 0 <= self.seed < 2**31:
            raise RequestError.of("seed", self.seed, "between 0 and 2**31 - 1")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a draw is of.

    Args:
        condition: For the network, one row an item; None where the size takes none.
        null: The condition that says nothing, of one row; None where there is none to guide away from.
        captions: What each item is of, in words; None where nothing is known.
    """

    condition: Tensor | None
    null: Tensor | None
    captions: tuple[str, ...] | None


@torch.inference_mode()
def infer(model: UVitPipeline, request: UVitRequest, report: Report) -> PicturesResult:
    """Makes the pictures.

    Args:
        model: The pipeline.
        request: What to make.
        report: Called after every denoising step; may raise `Cancelled`.

    Raises:
        RequestError: A class is unknown, or the size takes no inputs or no guidance.
        WeightsError: If the weights came without a tokenizer and texts are needed.
    """
    asked = ask(model, request)
    guidance = _guidance(request.guidance, asked)

    def after_step(step: int, total: int, x: Tensor, x0: Tensor) -> None:
        show: Callable[[], np.ndarray] = lambda: tensor_to_pictures(model.to_pictures(x0[:1].to(x.dtype)))[0]  # noqa: E731
        report(Progress(step=step, total=total, stage="denoise", preview=show))

    count = request.count * max(len(request.inputs), 1)
    signal = draw(model, asked, count, steps=request.steps, guidance=guidance, seed=request.seed, report=after_step)
    settings = {"steps": request.steps, "guidance": guidance}
    made = tensor_to_pictures(model.to_pictures(signal))
    return PicturesResult(pictures=made, captions=asked.captions, seed=request.seed, settings=settings)


def draw(
    model: UVitPipeline,
    asked: Asked,
    count: int,
    *,
    steps: int,
    guidance: float,
    seed: int,
    report: Callable[[int, int, Tensor, Tensor], None],
) -> Tensor:
    """Draws signals `(count, channels, size, size)`; item i depends on the seed and i alone.

    Args:
        model: The pipeline.
        asked: What to draw.
        count: How many.
        steps: Denoising steps.
        guidance: Scale of classifier-free guidance; 1 is none.
        seed: Source of the noise.
        report: As solvers call it.
    """
    config, like = model.config, model.network.pos_embed
    path = noise_path(config)
    shape = (config.channels, config.size, config.size)
    start = torch.stack([torch.randn(shape, generator=generator) for generator in draw_generators(seed, count)])
    denoise: Denoiser = denoiser(model.network)
    if asked.null is not None:
        denoise = ClassifierFree(scale=guidance, null_cond=asked.null)(denoise)
    times = _times(path, steps)
    return DpmSolverPp2m()(denoise, start.to(like), times, path, cond=asked.condition, report=report)


def ask(model: UVitPipeline, request: UVitRequest) -> Asked:
    """The request's inputs as conditions; without inputs any class, no text, or nothing."""
    device = model.network.pos_embed.device
    match model.config.condition:
        case NoCondition():
            if request.inputs:
                raise RequestError(f"this size takes no inputs, but {len(request.inputs)} were given; leave them out")
            return Asked(None, None, None)
        case ClassCondition() as condition:
            ids = _class_ids(condition, request)
            null = torch.tensor([condition.classes], device=device) if condition.null else None
            names = tuple(condition.names[i] if condition.names else f"class {i}" for i in ids)
            return Asked(torch.tensor(ids, device=device), null, names)
        case TextCondition():
            texts = _repeated(request.inputs or ("",), request.count)
            states = model.read(model.tokenize([*texts, ""]).to(device))
            return Asked(states[:-1], states[-1:], texts)


def prior(model: UVitPipeline) -> Prior:
    """U-ViT as rooms see it that work on any diffusion model."""
    config = model.config
    any_class = ("0",) if isinstance(config.condition, ClassCondition) else ()  # none named would draw one by chance
    nothing = ask(model, UVitRequest(inputs=any_class)).null

    def condition(inputs: Sequence[str]) -> Tensor:
        if isinstance(config.condition, ClassCondition):
            numbers = [_class_or_any(config.condition, text) for text in inputs]
            return torch.tensor(numbers, device=model.network.pos_embed.device)
        return model.read(model.tokenize(inputs).to(model.network.pos_embed.device))

    def input_of(sample: HasCaption) -> str:
        if not isinstance(config.condition, ClassCondition):
            return sample.caption
        number = class_of_sample(config.condition.names, sample)
        return "" if number is None else config.condition.names[number]

    trunk = model.network.trunk

    def maps(tokens: Tensor) -> Tensor:
        return tokens[:, config.extra_tokens :].transpose(1, 2).unflatten(2, (config.rows, config.rows))

    return Prior(
        network=NoisePredictor(model.network),
        path=noise_path(config),
        prediction=config.prediction,
        shape=(config.channels, config.size, config.size),
        to_pictures=model.to_pictures,
        from_pictures=model.to_signal,
        size=config.picture_size,
        condition=None if isinstance(config.condition, NoCondition) else condition,
        null_cond=nothing,
        input_of=input_of,
        taps=Taps(block=trunk.middle_of_the_way_out, maps=maps, projections=trunk.projections),
    )


def _class_or_any(condition: ClassCondition, text: str) -> int:
    """A class's number; that of any class for an empty text, where the size has one."""
    return condition.classes if not text and condition.null else class_id(condition, text)


def class_id(condition: ClassCondition, text: str) -> int:
    """The number of a class that is given by name or number.

    Raises:
        RequestError: There is no such class.
    """
    return class_number(condition.names, condition.classes, text)


def _class_ids(condition: ClassCondition, request: UVitRequest) -> list[int]:
    """The classes of the items; where none is named each item draws its own."""
    named = [class_id(condition, text) for text in request.inputs]
    if named:
        return [number for number in named for _ in range(request.count)]
    streams = draw_generators(request.seed + 1, request.count)
    return [int(torch.randint(condition.classes, (), generator=stream, device="cpu")) for stream in streams]


def _guidance(asked: float | None, conditions: Asked) -> float:
    if conditions.null is None:
        if asked not in (None, 1.0):
            raise RequestError.of("guidance", asked, "1 for this size", "it has no null condition to guide away from")
        return 1.0
    return GUIDANCE if asked is None else asked


def _times(path: Path, steps: int) -> tuple[float, ...]:
    return (TrailingGrid(steps) if isinstance(path, DiscreteVp) else LogSnrGrid(steps))(path)


def _repeated(texts: tuple[str, ...], count: int) -> tuple[str, ...]:
    return tuple(text for text in texts for _ in range(count))
