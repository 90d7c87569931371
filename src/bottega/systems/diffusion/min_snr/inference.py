"""Running Min-SNR: class names to pictures, the transfer matrix, and the weights as curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from bottega.data import pictures_to_tensor, tensor_to_pictures
from bottega.errors import RequestError
from bottega.processes.diffusion import (
    ClassifierFree,
    DpmSolverPp2m,
    IntervalGuidance,
    Prior,
    TrailingGrid,
    Transfer,
    TransferPlan,
    transfer_matrix,
)
from bottega.results import PicturesResult, curves, heat_map
from bottega.room import Progress, Report
from bottega.systems.diffusion.min_snr.config import EMOJI_GROUPS, WEIGHTINGS
from bottega.systems.diffusion.min_snr.model import MinSnrPipeline
from bottega.training import draw_generators
from bottega.worlds.emoji import load_index, reference_pictures, split

MAX_ITEMS = 256
HELD_OUT = 8
"""Every eighth tile is measured on and not fine-tuned on."""


class Mode(Enum):
    """What to make."""

    DRAW = "draw"
    """Pictures of the classes."""
    TRANSFER = "transfer"
    """Fine-tune on one band of noise levels and show how the loss changes in every band."""
    WEIGHTS = "weights"
    """Every weighting as a curve over the noise levels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MinSnrRequest:
    """What to make with Min-SNR."""

    inputs: tuple[str, ...] = ()
    """Names or numbers of classes; none for pictures of anything."""
    mode: Mode = Mode.DRAW
    """Pictures, the transfer matrix, or the weights as curves."""
    count: int = 1
    """How many pictures to make of each input, 1 to 256 in all."""
    steps: int = 25
    """Denoising steps, 1 to the number of noise levels."""
    guidance: float = 1.5
    """How strongly the class pulls, 0 to 50; 1 is no guidance."""
    guide_below: float = 1.0
    """Share of the noise levels, from the clean end, in which guidance acts; 0.8 with guidance 2.1 was published."""
    bands: int = 8
    """Bands of noise levels of the transfer matrix, 2 to 20."""
    tuning_steps: int = 20
    """Updates on each band of the transfer matrix, 1 to 10000."""
    seed: int = 0
    """The same seed makes the same bits, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if not 1 <= self.count * max(len(self.inputs), 1) <= MAX_ITEMS:
            raise RequestError.of("count", self.count, f"at least 1, and at most {MAX_ITEMS} items in all")
        for name, low, high in (
            ("steps", 1, 1000), ("guidance", 0, 50), ("guide_below", 0, 1), ("bands", 2, 20),
            ("tuning_steps", 1, 10_000), ("seed", 0, 2**31 - 1),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise RequestError.of(name, getattr(self, name), f"between {low} and {high}")


@torch.inference_mode()
def infer(model: MinSnrPipeline, request: MinSnrRequest, report: Report) -> PicturesResult:
    """Makes what the request says.

    Raises:
        RequestError: A class is unknown, there are more steps than noise levels, or there are inputs without use.
    """
    if request.mode is Mode.DRAW:
        return _draw_result(model, request, report)
    if request.inputs:
        raise RequestError(
            f"{request.mode.value} takes no inputs, but {len(request.inputs)} were given; leave them out"
        )
    if request.mode is Mode.TRANSFER:
        picture = transfer_figure(model, transfer(model, request, report))
    else:
        picture = weights_figure(model)
        report(Progress(step=1, total=1, stage="draw the curves"))
    caption = {Mode.TRANSFER: "transfer between noise levels", Mode.WEIGHTS: "weights of noise levels"}[request.mode]
    return PicturesResult(pictures=picture[None], captions=(caption,), seed=request.seed)


def _draw_result(model: MinSnrPipeline, request: MinSnrRequest, report: Report) -> PicturesResult:
    ids = [class_id(model, text) for text in request.inputs] or [model.config.classes]
    ids = [number for number in ids for _ in range(request.count)]

    def after_step(step: int, total: int, x: Tensor, x0: Tensor) -> None:
        show: Callable[[], np.ndarray] = lambda: tensor_to_pictures(model.to_pictures(x0[:1].to(x.dtype)))[0]  # noqa: E731
        report(Progress(step=step, total=total, stage="denoise", preview=show))

    states = draw(model, ids, request, after_step)
    names = (*(model.config.names or [f"class {i}" for i in range(model.config.classes)]), "anything")
    settings = {"steps": request.steps, "guidance": request.guidance, "guide_below": request.guide_below}
    return PicturesResult(
        pictures=tensor_to_pictures(model.to_pictures(states)),
        captions=tuple(names[i] for i in ids),
        seed=request.seed,
        settings=settings,
    )


def draw(
    model: MinSnrPipeline,
    ids: Sequence[int],
    request: MinSnrRequest,
    report: Callable[[int, int, Tensor, Tensor], None] = lambda *_: None,
) -> Tensor:
    """States of the classes with these numbers; item i depends on the seed and i alone."""
    path, known = model.path, prior(model)
    generators = draw_generators(request.seed, len(ids))
    guidance = ClassifierFree(scale=request.guidance, null_cond=known.null_cond)
    end = request.guide_below * (model.config.noise_levels - 1)
    limited = guidance if request.guide_below == 1 else IntervalGuidance(guidance=guidance, low=-1.0, high=end)
    classes = torch.tensor(ids, device=known.like.device)
    start = known.start(generators, path.t_max)
    times = TrailingGrid(min(request.steps, model.config.noise_levels))(path)
    return DpmSolverPp2m()(limited(known.denoiser()), start, times, path, cond=classes, report=report)


def prior(model: MinSnrPipeline) -> Prior:
    """The model as rooms see it that work on any diffusion model."""
    config = model.config
    device = model.network.pos_embed.device
    return Prior(
        network=model.network,
        path=model.path,
        prediction=config.prediction,
        shape=(config.network.channels, config.network.size, config.network.size),
        to_pictures=model.to_pictures,
        from_pictures=model.to_states,
        size=config.picture_size,
        condition=lambda inputs: torch.tensor([class_id(model, text) for text in inputs], device=device),
        null_cond=torch.tensor([config.classes], device=device),
    )


def class_id(model: MinSnrPipeline, text: str) -> int:
    """The number of a class that is given by name or number, or by "" for any.

    Raises:
        RequestError: There is no such class.
    """
    names, count = model.config.names, model.config.classes
    plain = " ".join(text.lower().replace("-", " ").replace("&", "and").split())
    if not plain:
        return count
    if plain in names:
        return names.index(plain)
    digits = text.strip()
    if digits.isascii() and digits.isdigit() and int(digits) < count:
        return int(digits)
    raise RequestError.of(
        "the class", text, f"one of {', '.join(names)}" if names else f"a number from 0 to {count - 1}"
    )


def group_ids(model: MinSnrPipeline, name: str) -> Tensor:
    """The classes of a split's tiles, in its order; the one that says nothing where the model has other classes."""
    known = model.config.names == EMOJI_GROUPS
    groups = (emoji.group.lower().replace("&", "and") for emoji in split(name))
    return torch.tensor([EMOJI_GROUPS.index(group) if known else model.config.classes for group in groups])


def emoji_states(model: MinSnrPipeline, most: int, seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Emoji to fine-tune on and to measure on, each as states and classes."""
    device = model.network.pos_embed.device
    order = np.random.default_rng(seed).permutation(len(load_index()))
    tiles = reference_pictures("all", model.config.picture_size)[0]
    classes = group_ids(model, "all")

    def states(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return model.to_states(pictures_to_tensor(tiles[rows]).to(device)), classes[rows].to(device)

    return states(order[order % HELD_OUT != 0][:most]), states(order[order % HELD_OUT == 0][: most // 4])


def transfer(model: MinSnrPipeline, request: MinSnrRequest, report: Report) -> Transfer:
    """The transfer matrix on emoji."""
    trained, held_out = emoji_states(model, 512, request.seed)
    plan = TransferPlan(bins=request.bands, steps=request.tuning_steps, seed=request.seed)

    def after_band(done: int, total: int) -> None:
        report(Progress(step=done, total=total, stage="fine-tune a band"))

    path, prediction = model.path, model.config.prediction
    return transfer_matrix(model.network, trained, held_out, plan, path=path, prediction=prediction, report=after_band)


def transfer_figure(model: MinSnrPipeline, found: Transfer) -> np.ndarray:
    """The change of the loss as a matrix of coloured cells."""
    edges = [round(float(edge)) for edge in found.edges]
    names = [f"{low}-{high}" for low, high in zip(edges[:-1], edges[1:], strict=True)]
    title = "change of the loss in a band (across) after fine-tuning on one band (down)"
    return heat_map(found.change.cpu().numpy(), [f"tuned on {name}" for name in names], names, title)


def weights_figure(model: MinSnrPipeline) -> np.ndarray:
    """Every weighting on the squared error of x0, over the model's noise levels."""
    path = model.path
    t = torch.arange(path.t_min, path.t_max + 1, dtype=torch.float64)
    alpha, sigma = path.alpha(t), path.sigma(t)
    factor = model.config.prediction.error_factor(alpha, sigma)
    lines = {}
    for name, weighting in WEIGHTINGS.items():
        weight = weighting(alpha, sigma, model.config.prediction) * factor
        lines[name.value] = (t.numpy(), weight.clamp(1e-4, 1e4).numpy())
    return curves(lines, "weight on the squared error of x0", "noise level", "weight", log_y=True)
