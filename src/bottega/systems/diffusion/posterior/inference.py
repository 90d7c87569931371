"""Running the room: a measurement, a stroke painting, a class or words to pictures. The only code that users run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bottega.data import Crop, fit_picture, pictures_to_tensor, read_picture, tensor_to_pictures
from bottega.errors import RequestError
from bottega.metrics import psnr
from bottega.processes.diffusion import BlockAverage, Blur, Fourier, Grey, LinearOperator, Mask, Radon, Reimposed
from bottega.results import PicturesResult
from bottega.room import PictureFile, Progress, Report
from bottega.systems.diffusion.posterior.model import Posterior
from bottega.systems.diffusion.posterior.objective import SCAN_NOISE, group_names, known_words, split_words
from bottega.systems.diffusion.posterior.sampling import (
    Drawing,
    Method,
    SolverName,
    draws_pixels,
    measured_states,
    told_by,
)
from bottega.worlds import EmojiWorld, PhantomsWorld
from bottega.worlds.emoji import class_number


class Task(Enum):
    """What is known about the picture."""

    CLASSIFIER = "classifier"
    """Its group, by a classifier of noisy pictures."""
    WORDS = "words"
    """Words of its name, by a reader of noisy pictures."""
    STROKE = "stroke"
    """A rough painting of it: SDEdit."""
    INPAINT = "inpaint"
    """Its pixels outside a mask."""
    COLOURISE = "colourise"
    """Its grey values."""
    SUPER_RESOLUTION = "super-resolution"
    """Means of blocks of pixels."""
    DEBLUR = "deblur"
    """A blurred and noisy copy."""
    CT = "ct"
    """A few X-ray projections."""
    MRI = "mri"
    """Some of its frequencies."""

    @property
    def takes(self) -> str:
        """What the inputs are: words, pictures, or nothing where phantoms are scanned."""
        if self in NAMED:
            return "text"
        return "nothing" if self in SCANS else "picture"


SCANS = frozenset({Task.CT, Task.MRI})
NAMED = frozenset({Task.CLASSIFIER, Task.WORDS})
GUIDANCE, STROKE = 3.0, 0.5
FREQUENCY_NOISE, PIXEL_NOISE, BLUR = 0.02, 0.02, 1.2
"""Standard deviations: of a frequency's noise, of a pixel's noise, and of the blur in pixels."""
MAX_ITEMS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class PosteriorRequest:
    """What is known, and how to draw what is not."""

    inputs: tuple[str, ...] = ()
    """Files of pictures, or none for an emoji or a phantom; for classifier groups, for words the words of one name."""
    task: Task = Task.SUPER_RESOLUTION
    """What is known about the picture."""
    mask: PictureFile | None = None
    """For inpaint and stroke, white where the picture may change, black where it is kept. Inpaint: else the middle."""
    strength: float | None = None
    """Classifier, words: power of the likelihood, 0 to 50, 3 if left out. Stroke: share of noise, above 0 to 1, 0.5."""
    method: Method | None = None
    """How a measurement pulls at the draw. Left out: project for colourise and super-resolution, gradient otherwise."""
    measured: int = 12
    """CT: projections. MRI: rows of frequencies. 1 to 512."""
    factor: int = 4
    """Super-resolution: side of the blocks in pixels, 2 to 16."""
    degraded: bool = False
    """Deblur, super-resolution: the pictures are already blurred or small. Otherwise they are degraded first."""
    compare: bool = False
    """Adds what was measured and the classical reconstruction to each draw."""
    count: int = 1
    """How many to draw of each input, 1 to 256 in all."""
    solver: SolverName = SolverName.ANCESTRAL
    """What follows the denoiser."""
    steps: int = 50
    """Denoising steps, 1 to 1000."""
    seed: int = 0
    """The same seed makes the same bits, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if not self.inputs and self.task in NAMED:
            needed = "a group" if self.task is Task.CLASSIFIER else "words"
            raise RequestError(f"task {self.task.value} needs {needed}, but no input was given")
        if self.mask is not None and self.task not in (Task.INPAINT, Task.STROKE):
            raise RequestError(f"task {self.task.value} takes no mask; leave it out")
        highest, lowest = (1.0, 1e-6) if self.task is Task.STROKE else (50.0, 0.0)
        if self.strength is not None and not lowest <= self.strength <= highest:
            raise RequestError.of("strength", self.strength, f"between 0 and {highest:g} for task {self.task.value}")
        if not 1 <= self.count * max(len(self.inputs), 1) <= MAX_ITEMS:
            raise RequestError.of("count", self.count, f"at least 1, and at most {MAX_ITEMS} items in all")
        for name, low, high in (("measured", 1, 512), ("factor", 2, 16), ("steps", 1, 1000), ("seed", 0, 2**31 - 1)):
            if not low <= getattr(self, name) <= high:
                raise RequestError.of(name, getattr(self, name), f"between {low} and {high}")


def files(request: PosteriorRequest) -> tuple[str, ...]:
    """The files that a request reads."""
    pictures = () if request.task in NAMED else request.inputs
    return pictures if request.mask is None else (*pictures, request.mask)


def usual_method(operator: LinearOperator) -> Method:
    """What restores best: the gradient, but where a measurement mixes numbers whose errors are alike.

    The gradient takes these errors to be independent and goes too far for means of pixels or of channels.
    """
    return Method.PROJECT if isinstance(operator, BlockAverage | Grey) else Method.GRADIENT


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A measurement of pictures or densities, and what to compare a draw with.

    Args:
        operator: What measured.
        measured: The measurement `(b, ...)`, in units of the states.
        noise_std: Its noise, in the same.
        classical: A reconstruction without a prior, `(b, 3, size, size)` in [-1, 1], and its name.
        truth: What was measured, as pictures; None where the user's files are the measurement.
    """

    operator: LinearOperator
    measured: Tensor
    noise_std: float
    classical: Tensor
    name: str
    truth: Tensor | None


@torch.no_grad()
def infer(model: Posterior, request: PosteriorRequest, report: Report) -> PicturesResult:
    """Draws what is not known.

    Args:
        model: The room's model with its prior over pictures.
        request: What is known.
        report: Called after every denoising step; may raise `Cancelled`.

    Raises:
        RequestError: A group or word is unknown, or the size of a block does not fit.
        FileError: A picture cannot be read.
        WeightsError: This size lacks the reader, or no prior over pictures is connected.
    """
    if request.task in NAMED:
        return _drawn(model, request, report)
    if request.task is Task.STROKE:
        return _painted(model, request, report)
    return _restored(model, request, report)


def _drawn(model: Posterior, request: PosteriorRequest, report: Report) -> PicturesResult:
    """Pictures of a group, or of words."""
    reader, prior = model.read(), model.pictures
    asked = request.inputs if request.task is Task.CLASSIFIER else (" ".join(request.inputs),)
    rows = [text for text in asked for _ in range(request.count)]
    if request.task is Task.CLASSIFIER:
        numbers = torch.tensor([class_number(group_names(), len(group_names()), text) for text in rows])
        score = group_score(numbers)
    else:
        score = word_score([word_numbers(text, reader.config.words) for text in rows])
    scale = GUIDANCE if request.strength is None else request.strength
    drawing = _drawing(model, request, report)
    states = drawing.draw(len(rows), told_by(reader, prior, score, scale))
    return _result(prior.to_pictures(states), tuple(rows), request, {"strength": scale})


def _painted(model: Posterior, request: PosteriorRequest, report: Report) -> PicturesResult:
    """Pictures from strokes."""
    prior, strength = model.pictures, STROKE if request.strength is None else request.strength
    known = None
    if request.mask is not None:
        if not draws_pixels(prior):
            raise RequestError("a mask for strokes needs a prior that draws pixels, such as uvit; leave it out")
        known = 1 - _mask(request.mask, prior.size)
    strokes = _pictures(request, prior.size)
    guide = prior.from_pictures((strokes if request.inputs else roughly(strokes)).to(prior.like))
    states = _drawing(model, request, report).edit(guide, strength, known=known)
    return _result(prior.to_pictures(states), None, request, {"strength": strength})


def _restored(model: Posterior, request: PosteriorRequest, report: Report) -> PicturesResult:
    """Pictures or scans from measurements."""
    scanning = request.task in SCANS
    known = scan_known(model, request) if scanning else picture_known(model.pictures.size, request)
    prior = model.scan().prior() if scanning else model.pictures
    drawing = _drawing(model, request, report)
    if draws_pixels(prior) or scanning:
        states = restored(drawing, known, request)
    else:
        states = drawing.restore_decoded(known.operator, known.measured, known.noise_std)
    made = prior.to_pictures(states).float().cpu().clamp(-1, 1)
    method = request.method or usual_method(known.operator)
    if not request.compare:
        return _result(made, None, request, {"method": method.value})
    parts = {known.name: known.classical, "posterior": made}
    if known.truth is not None:
        parts = {"truth": known.truth, **parts}
    shown = torch.stack(list(parts.values()), dim=1).flatten(0, 1)
    captions = tuple(
        _said(name, part[row], known.truth, row) for row in range(len(made)) for name, part in parts.items()
    )
    return _result(shown, captions, request, {"method": method.value})


def _said(name: str, picture: Tensor, truth: Tensor | None, row: int) -> str:
    """A picture's name, with how near it is to the truth."""
    if truth is None or name == "truth":
        return name
    return f"{name}, {float(psnr(picture[None], truth[row : row + 1])):.1f} dB"


def restored(drawing: Drawing, known: Known, request: PosteriorRequest) -> Tensor:
    """States behind a measurement; what an inpainting knows is re-imposed as it is."""
    if request.task is Task.INPAINT and isinstance(known.operator, Mask) and request.method is Method.MERGE:
        edit = Reimposed(guide=known.measured, known=known.operator.known)
        return drawing.draw(len(known.measured), edit=edit)
    method = request.method or usual_method(known.operator)
    return drawing.restore(known.operator, known.measured, known.noise_std, method)


def scan_known(model: Posterior, request: PosteriorRequest) -> Known:
    """A noisy scan of held-out phantoms, or of the user's pictures."""
    size = model.scan().config.size
    if request.inputs:
        density = ((_pictures(request, size).mean(1, keepdim=True) + 1) / 2).contiguous()
    else:
        world = PhantomsWorld(split="heldout", size=size)
        rows = np.stack([world.sample(request.seed).density] * request.count)
        density = torch.from_numpy(rows)[:, None]
    return scanned(model, density, request.task, request.measured, torch.Generator().manual_seed(request.seed + 2))


def scanned(model: Posterior, density: Tensor, task: Task, measured: int, generator: torch.Generator) -> Known:
    """A noisy scan of densities `(b, 1, size, size)`."""
    scans, size = model.scan(), model.scan().config.size
    if task is Task.CT:
        operator: Radon | Fourier = Radon.even(size, measured)
        lines = operator.forward(density)
        lines = lines + SCAN_NOISE * torch.randn(lines.shape, generator=generator)
        classical, name, noise = operator.filtered_back_projection(lines), "filtered back-projection", SCAN_NOISE
    else:
        if measured > size:
            raise RequestError.of("measured", measured, f"at most {size}, the rows of a scan")
        operator = Fourier.lines(size, measured, max(1, measured // 3), generator)
        lines = operator.forward(density)
        disturbance = torch.randn((2, *lines.shape), generator=generator)
        lines = operator.forward(density) + FREQUENCY_NOISE * torch.complex(*disturbance) * operator.sampled
        classical, name, noise = operator.adjoint(lines), "zero-filling", FREQUENCY_NOISE
    return Known(
        operator=operator,
        measured=measured_states(scans, operator, lines),
        noise_std=scans.slope * noise,
        classical=grey(classical),
        name=name,
        truth=grey(density),
    )


def picture_known(size: int, request: PosteriorRequest) -> Known:
    """What is known of the user's pictures at a size."""
    generator = torch.Generator().manual_seed(request.seed + 2)
    if request.task is Task.SUPER_RESOLUTION and size % request.factor:
        raise RequestError.of("factor", request.factor, f"a divisor of {size}, the side of the prior's pictures")
    pictures = _pictures(request, size)
    match request.task:
        case Task.INPAINT:
            operator: LinearOperator = Mask(1 - _mask(request.mask, size))
        case Task.COLOURISE:
            operator = Grey()
        case Task.SUPER_RESOLUTION:
            operator = BlockAverage(request.factor)
        case _:
            operator = Blur.gaussian(BLUR)
    given = request.degraded and request.task is Task.DEBLUR
    return degraded(
        operator, pictures, generator, measured=pictures if given else None, known_truth=not request.degraded
    )


def degraded(
    operator: LinearOperator, pictures: Tensor, generator: torch.Generator, *,
    measured: Tensor | None = None, known_truth: bool = True,
) -> Known:  # fmt: skip
    """A measurement of pictures `(b, 3, size, size)`; only a blur is noisy."""
    noise = PIXEL_NOISE if isinstance(operator, Blur) else 0.0
    if measured is None:
        measured = operator.forward(pictures)
        measured = measured + noise * torch.randn(measured.shape, generator=generator)
    match operator:
        case BlockAverage():
            classical, name = F.interpolate(measured, size=pictures.shape[-2:], mode="bicubic"), "bicubic"
        case Blur():
            classical, name = measured, "blurred"
        case Grey():
            classical, name = operator.pseudo_inverse(measured), "grey"
        case _:
            classical, name = operator.pseudo_inverse(measured), "known"
    return Known(
        operator=operator, measured=measured, noise_std=noise, classical=classical.clamp(-1, 1), name=name,
        truth=pictures if known_truth else None,
    )  # fmt: skip


def group_score(numbers: Tensor) -> Callable[[tuple[Tensor, Tensor]], Tensor]:
    """Log p(group | picture) of these groups `(b,)`."""
    return lambda logits: F.log_softmax(logits[0].float(), dim=1).gather(1, numbers.to(logits[0].device)[:, None])[:, 0]


def word_score(rows: list[list[int]]) -> Callable[[tuple[Tensor, Tensor]], Tensor]:
    """Log p(each of these words | picture), summed, for each row."""

    def score(logits: tuple[Tensor, Tensor]) -> Tensor:
        sure = F.logsigmoid(logits[1].float())
        return torch.stack([sure[row, numbers].sum() for row, numbers in enumerate(rows)])

    return score


def word_numbers(text: str, count: int) -> list[int]:
    """The numbers of a text's words.

    Raises:
        RequestError: A word is unknown to the reader, or there is none.
    """
    known, words = known_words(count), split_words(text)
    unknown = [word for word in words if word not in known]
    if unknown or not words:
        raise RequestError.of(
            "words", text, f"of the {count} words that the reader knows, such as {', '.join(known[:8])}"
        )
    return [known.index(word) for word in words]


def grey(density: Tensor) -> Tensor:
    """Densities `(b, 1, size, size)` as pictures in [-1, 1]."""
    return (2 * density.clamp(0, 1) - 1).expand(-1, 3, -1, -1)


def _drawing(model: Posterior, request: PosteriorRequest, report: Report) -> Drawing:
    prior = model.scan().prior() if request.task in SCANS else model.pictures

    def after_step(step: int, total: int, x: Tensor, x0: Tensor) -> None:
        show: Callable[[], np.ndarray] = lambda: tensor_to_pictures(prior.to_pictures(x0[:1].to(prior.like)))[0]  # noqa: E731
        report(Progress(step=step, total=total, stage="denoise", preview=show))

    return Drawing(
        prior=prior, solver=request.solver.solver(), steps=request.steps, seed=request.seed, report=after_step
    )


def _pictures(request: PosteriorRequest, size: int) -> Tensor:
    """The user's pictures, each as often as asked for, `(b, 3, size, size)` in [-1, 1]."""
    if not request.inputs:
        return _emoji(size, request.seed).repeat_interleave(request.count, dim=0)
    side = size
    if request.degraded and request.task is Task.SUPER_RESOLUTION:
        side = size // request.factor
    squares = np.stack([fit_picture(read_picture(path), side, how=Crop()) for path in request.inputs])
    pictures = pictures_to_tensor(squares)
    if side != size:
        pictures = pictures.repeat_interleave(request.factor, -1).repeat_interleave(request.factor, -2)
    return pictures.repeat_interleave(request.count, dim=0)


def _emoji(size: int, seed: int) -> Tensor:
    """One of the world's emoji, `(1, 3, size, size)` in [-1, 1]."""
    return pictures_to_tensor(EmojiWorld(size=size, scenes=0.0).sample(seed).picture[None].copy())


def roughly(pictures: Tensor) -> Tensor:
    """Pictures `(b, 3, size, size)` in 8 x 8 colours: what quick strokes would show of them."""
    return F.interpolate(F.adaptive_avg_pool2d(pictures, 8), size=pictures.shape[-2:], mode="nearest")


def _mask(path: str | None, size: int) -> Tensor:
    """1 where a mask is white, `(1, size, size)`; in the middle where there is none."""
    if path is None:
        middle = torch.zeros(1, size, size)
        middle[:, size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 1
        return middle
    square = fit_picture(read_picture(path), size, how=Crop())
    return (torch.from_numpy(square).float().mean(2) > 127.5).float()[None]


def _result(
    pictures: Tensor, captions: tuple[str, ...] | None, request: PosteriorRequest, settings: dict[str, object]
) -> PicturesResult:
    told = {"task": request.task.value, "steps": request.steps, "solver": request.solver.value, **settings}
    return PicturesResult(pictures=tensor_to_pictures(pictures), captions=captions, seed=request.seed, settings=told)
