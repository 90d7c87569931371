"""Running a score SDE model: pictures from noise, and pictures judged, encoded and turned into each other."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bottega.data import Crop, fit_picture, read_picture, tensor_to_pictures
from bottega.errors import RequestError
from bottega.processes.diffusion import Dopri5, bits_per_dimension, decode, dequantised, encode
from bottega.results import PicturesResult
from bottega.room import Progress, Report
from bottega.systems.diffusion.score_sde.model import ScoreSde
from bottega.systems.diffusion.score_sde.objective import denoiser
from bottega.systems.diffusion.score_sde.sampling import Corrected, Plan, Sampler, draw, likelihood
from bottega.training import draw_generators

MAX_ITEMS = 256
ROW = 8
"""Pictures in a row of interpolate."""


class Mode(enum.Enum):
    """What to do."""

    SAMPLE = "sample"
    """Pictures from noise."""
    LIKELIHOOD = "likelihood"
    """How likely pictures are: bits per dimension, higher for the more unusual."""
    RECONSTRUCT = "reconstruct"
    """Pictures encoded as noise by the ODE and decoded again."""
    INTERPOLATE = "interpolate"
    """Rows of eight pictures from one picture to the next, along codes between theirs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreSdeRequest:
    """What to do with a score SDE model."""

    inputs: tuple[str, ...] = ()
    """Files of pictures to judge, encode or turn into each other; none to draw new ones."""
    mode: Mode = Mode.SAMPLE
    """What to do."""
    count: int = 1
    """How many pictures to draw, 1 to 256."""
    sampler: Sampler = Sampler.REVERSE_DIFFUSION
    """How to get from noise to pictures."""
    corrector: Corrected | None = None
    """What corrects before each step of the sampler. Left out: langevin for reverse-diffusion, none for the others."""
    steps: int = 100
    """Steps from noise to pictures, 1 to 2000; 1000 or 2000 were published. `ode` takes as many as it needs."""
    snr: float | None = None
    """The corrector's ratio of score to noise, above 0, at most 1. Left out: the size's."""
    tolerance: float = 1e-3
    """Of the adaptive ODE, for drawing, codes and likelihoods, 1e-8 to 0.1; 1e-5 was published."""
    probes: int = 1
    """Random probes of the likelihood's divergence, 1 to 1000: more vary less."""
    seed: int = 0
    """The same seed makes the same bits, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        limits = (
            ("count", self.count, 1, MAX_ITEMS),
            ("steps", self.steps, 1, 2000),
            ("tolerance", self.tolerance, 1e-8, 0.1),
            ("probes", self.probes, 1, 1000),
            ("seed", self.seed, 0, 2**31 - 1),
        )
        for name, value, low, high in limits:
            if not low <= value <= high:
                raise RequestError.of(name, value, f"between {low} and {high}")
        if self.snr is not None and not 0 < self.snr <= 1:
            raise RequestError.of("snr", self.snr, "above 0 and at most 1")
        if self.mode is Mode.SAMPLE and self.inputs:
            fix = "leave them out, or choose another mode"
            raise RequestError(f"sample takes no inputs, but {len(self.inputs)} were given; {fix}")
        if len(self.inputs) > MAX_ITEMS:
            raise RequestError.of("inputs", len(self.inputs), f"at most {MAX_ITEMS} files")

    @property
    def plan(self) -> Plan:
        """How to draw."""
        usual = Corrected.LANGEVIN if self.sampler is Sampler.REVERSE_DIFFUSION else Corrected.NONE
        corrector = usual if self.corrector is None else self.corrector
        return Plan(sampler=self.sampler, corrector=corrector, steps=self.steps, snr=self.snr, tolerance=self.tolerance)


def files(request: ScoreSdeRequest) -> tuple[str, ...]:
    """The files that a request reads."""
    return request.inputs


def infer(model: ScoreSde, request: ScoreSdeRequest, report: Report) -> PicturesResult:
    """Makes or judges the pictures.

    Args:
        model: The score network.
        request: What to do.
        report: Called after every step; may raise `Cancelled`.

    Raises:
        RequestError: A mode needs more pictures than were given.
        FileError: A picture cannot be read.
    """
    match request.mode:
        case Mode.SAMPLE:
            with torch.inference_mode():
                made, captions = _sample(model, request, report), None
        case Mode.LIKELIHOOD:
            made, captions = _judge(model, request, report)
        case Mode.RECONSTRUCT:
            with torch.inference_mode():
                made, captions = _reconstruct(model, request, report)
        case Mode.INTERPOLATE:
            with torch.inference_mode():
                made, captions = _interpolate(model, request, report), None
    settings = {"mode": request.mode.value, "sampler": request.sampler.value, "steps": request.steps}
    return PicturesResult(pictures=tensor_to_pictures(made), captions=captions, seed=request.seed, settings=settings)


def _sample(model: ScoreSde, request: ScoreSdeRequest, report: Report) -> Tensor:
    def after_step(step: int, total: int, x: Tensor, x0: Tensor) -> None:
        show: Callable[[], np.ndarray] = lambda: tensor_to_pictures(model.to_pictures(x0[:1]))[0]  # noqa: E731
        report(Progress(step=step, total=total, stage="denoise", preview=show))

    return model.to_pictures(draw(model, request.plan, draw_generators(request.seed, request.count), report=after_step))


def _judge(model: ScoreSde, request: ScoreSdeRequest, report: Report) -> tuple[Tensor, tuple[str, ...]]:
    """The pictures, each captioned with its bits per dimension."""
    pixels = _read(model, request, 1)
    streams = draw_generators(request.seed, len(pixels))
    captions = []
    for number, (picture, stream) in enumerate(zip(pixels, streams, strict=True), 1):
        given = dequantised(picture[None], stream).to(next(model.parameters()))
        found = likelihood(model, given, probes=request.probes, tolerance=request.tolerance, generator=stream)
        captions.append(f"{bits_per_dimension(found.log_prob, picture.numel()).item():.3f} bits per dimension")
        report(Progress(step=number, total=len(pixels), stage="likelihood"))
    return _plain(pixels), tuple(captions)


def _reconstruct(model: ScoreSde, request: ScoreSdeRequest, report: Report) -> tuple[Tensor, tuple[str, ...]]:
    """The decoded pictures, each captioned with its largest error."""
    pictures = _plain(_read(model, request, 1))
    made = model.to_pictures(_decoded(model, request, _codes(model, request, pictures, report)))
    report(Progress(step=2, total=2, stage="decode"))
    errors = (made.cpu() - pictures).abs().flatten(1).amax(1).tolist()
    return made, tuple(f"largest error {error:.2g} of a range of 2" for error in errors)


def _interpolate(model: ScoreSde, request: ScoreSdeRequest, report: Report) -> Tensor:
    """Rows from each picture to the next: codes on the great circle between theirs, decoded."""
    codes = _codes(model, request, _plain(_read(model, request, 2)), report)
    shares = torch.linspace(0.0, 1.0, ROW, device=codes.device).reshape(-1, 1, 1, 1)
    rows = [_between(first, second, shares) for first, second in zip(codes[:-1], codes[1:], strict=True)]
    made = _decoded(model, request, torch.cat(rows))
    report(Progress(step=2, total=2, stage="decode"))
    return model.to_pictures(made)


def _between(first: Tensor, second: Tensor, shares: Tensor) -> Tensor:
    """Points on the great circle from one code to another."""
    cosine = torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0)
    angle = cosine.clamp(-1.0, 1.0).acos().clamp(min=1e-4)
    return ((1 - shares) * angle).sin() / angle.sin() * first + (shares * angle).sin() / angle.sin() * second


def _codes(model: ScoreSde, request: ScoreSdeRequest, pictures: Tensor, report: Report) -> Tensor:
    states = model.from_pictures(pictures.to(next(model.parameters())))
    codes = encode(denoiser(model), states, model.config.sde, method=_method(request))
    report(Progress(step=1, total=2, stage="encode"))
    return codes


def _decoded(model: ScoreSde, request: ScoreSdeRequest, codes: Tensor) -> Tensor:
    return decode(denoiser(model), codes, model.config.sde, method=_method(request))


def _method(request: ScoreSdeRequest) -> Dopri5:
    return Dopri5(rtol=request.tolerance, atol=request.tolerance)


def _read(model: ScoreSde, request: ScoreSdeRequest, least: int) -> Tensor:
    """The inputs as bytes `(b, 3, size, size)`."""
    if len(request.inputs) < least:
        what = "a picture" if least == 1 else f"{least} pictures"
        raise RequestError(f"{request.mode.value} needs {what}; give the names of files")
    size = model.config.network.size
    squares = [fit_picture(read_picture(path), size, how=Crop()) for path in request.inputs]
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)


def _plain(pixels: Tensor) -> Tensor:
    """Bytes as pictures in [-1, 1]."""
    return pixels / 127.5 - 1.0
