"""Running eDiff-I: words, a style and painted regions to pictures. The only code that users run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from bottega.data import picture_to_tensor, read_picture, tensor_to_pictures
from bottega.errors import RequestError
from bottega.processes.diffusion import X0, Prior
from bottega.results import PicturesResult
from bottega.room import PictureFile, Progress, Report
from bottega.systems.diffusion.edm_experts.model import EdmExperts, kept
from bottega.systems.diffusion.edm_experts.objective import PATH
from bottega.systems.diffusion.edm_experts.sampling import boost_of, draw_base, draw_upscaled, read_regions
from bottega.training import draw_generators

MAX_ITEMS = 256


class TextReaders(Enum):
    """Whose reading of the words is told."""

    BOTH = "both"
    CLIP = "clip"
    T5 = "t5"

    @property
    def label(self) -> str:
        """As the field writes it."""
        return _READER_LABELS[self]


_READER_LABELS = {TextReaders.BOTH: "Both", TextReaders.CLIP: "CLIP", TextReaders.T5: "T5"}


@dataclass(frozen=True, kw_only=True, slots=True)
class EdmExpertsRequest:
    """What to make with eDiff-I."""

    inputs: tuple[str, ...] = ("a red heart and a blue circle",)
    """What the pictures should show."""
    count: int = 1
    """How many to make of each input, 1 to 256 in all."""
    paint: PictureFile = ""
    """A picture file with regions painted in plain colours on white."""
    words: str = ""
    """Which colour stands for which words of the input: "red: heart; blue: circle"."""
    paint_strength: float = 1.0
    """How strongly painted regions pull their words, 0 to 20."""
    style: PictureFile = ""
    """A picture file whose style the pictures should have."""
    readers: TextReaders = TextReaders.BOTH
    """Whose reading of the words counts: CLIP's, T5's, or both."""
    upscale: bool = True
    """Whether the base model's pictures are enlarged."""
    steps: int = 25
    """Denoising steps of the base model, 1 to 1000."""
    upscale_steps: int = 10
    """Denoising steps of each model that enlarges, 1 to 1000."""
    guidance: float = 2.0
    """How strongly words and style pull, 0 to 50; 1 is no guidance."""
    seed: int = 0
    """The same seed makes the same bits, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if not self.inputs:
            raise RequestError("there is no input; say what the picture should show")
        if not 1 <= self.count * len(self.inputs) <= MAX_ITEMS:
            raise RequestError.of("count", self.count, f"at least 1, and at most {MAX_ITEMS} items in all")
        for name in ("steps", "upscale_steps"):
            if not 1 <= getattr(self, name) <= 1000:
                raise RequestError.of(name, getattr(self, name), "between 1 and 1000")
        if not 0.0 <= self.guidance <= 50.0:
            raise RequestError.of("guidance", self.guidance, "between 0 and 50")
        if not 0.0 <= self.paint_strength <= 20.0:
            raise RequestError.of("paint_strength", self.paint_strength, "between 0 and 20")
        if not 0 <= self.seed < 2**31:
            raise RequestError.of("seed", self.seed, "between 0 and 2**31 - 1")
        if bool(self.paint) != bool(self.words):
            raise RequestError("paint and words belong together; give the painting and what its colours stand for")


def files(request: EdmExpertsRequest) -> tuple[str, ...]:
    """The files that a request reads."""
    return tuple(path for path in (request.paint, request.style) if path)


@torch.inference_mode()
def infer(model: EdmExperts, request: EdmExpertsRequest, report: Report) -> PicturesResult:
    """Makes the pictures.

    Args:
        model: The pipeline with its tokenizer.
        request: What to make.
        report: Called after every denoising step; may raise `Cancelled`.

    Raises:
        FileError: A picture cannot be read.
        RequestError: A painted word is not in the input.
        WeightsError: The weights came without a tokenizer.
    """
    texts = tuple(text for text in request.inputs for _ in range(request.count))
    told = ask(model, texts, readers=request.readers, style=request.style)
    if request.paint:
        regions = read_regions(read_picture(request.paint), request.words)
        boosts = [boost_of(model, text, regions, request.paint_strength) for text in texts]
        told["boost"] = torch.stack(boosts).to(told["clip"])
    total = request.steps + request.upscale_steps * len(model.upscalers) * request.upscale
    done = 0

    def after_step(step: int, count: int, x: Tensor, x0: Tensor) -> None:
        nonlocal done
        done += 1
        show: Callable[[], np.ndarray] = lambda: tensor_to_pictures(x0[:1])[0]  # noqa: E731
        report(Progress(step=done, total=total, stage="denoise" if done <= request.steps else "enlarge", preview=show))

    made = draw(
        model, told, request.seed, steps=request.steps, upscale_steps=request.upscale_steps * request.upscale,
        guidance=request.guidance, report=after_step,
    )  # fmt: skip
    settings = {"steps": request.steps, "guidance": request.guidance, "readers": request.readers.value}
    return PicturesResult(pictures=tensor_to_pictures(made), captions=texts, seed=request.seed, settings=settings)


def ask(
    model: EdmExperts, texts: Sequence[str], *, readers: TextReaders = TextReaders.BOTH, style: str = ""
) -> dict[str, Tensor]:
    """What the cascade is told about each text, and about the style of a picture file."""
    told = model.told(texts)
    if style:
        picture = picture_to_tensor(read_picture(style))[None].to(told["clip"])
        told["style"] = model.encoders.style(picture).expand(len(texts), -1)
    keep = (readers is not TextReaders.T5, readers is not TextReaders.CLIP, bool(style))
    return kept(told, torch.tensor([keep] * len(texts)))


def draw(
    model: EdmExperts,
    told: dict[str, Tensor],
    seed: int,
    *,
    steps: int,
    upscale_steps: int,
    guidance: float,
    report: Callable[[int, int, Tensor, Tensor], None],
) -> Tensor:
    """Draws pictures in [-1, 1], one for each row of what is told; item i depends on the seed and i alone.

    Args:
        model: The pipeline.
        told: As `ask` makes it, perhaps with a boost.
        seed: Source of the noise.
        steps: Denoising steps of the base model.
        upscale_steps: Denoising steps of each model that enlarges; 0 leaves the base model's pictures.
        guidance: Scale of classifier-free guidance.
        report: As solvers call it.
    """
    streams = draw_generators(seed, len(told["clip"]))
    sizes = [stage.unet.size for stage in (model.config.base, *model.config.upscalers)]

    def noise(size: int) -> Tensor:
        return torch.stack([torch.randn(3, size, size, generator=stream) for stream in streams]).to(told["clip"])

    made = draw_base(model, told, noise(sizes[0]), steps=steps, guidance=guidance, report=report)
    if not upscale_steps:
        return made
    noises = [(noise(sizes[i]), noise(sizes[i + 1])) for i in range(len(model.upscalers))]
    return draw_upscaled(model, told, made, noises, steps=upscale_steps, guidance=guidance, report=report)


def prior(model: EdmExperts) -> Prior:
    """The base model as rooms see it that work on any diffusion model."""
    size = model.config.base.unet.size
    return Prior(
        network=model.base,
        path=PATH,
        prediction=X0(),
        shape=(3, size, size),
        to_pictures=lambda states: states,
        from_pictures=lambda pictures: pictures,
        size=size,
        condition=lambda inputs: ask(model, inputs),
        null_cond=model.nothing(),
    )
