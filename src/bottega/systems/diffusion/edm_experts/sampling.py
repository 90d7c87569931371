"""Drawing from the cascade: what is told, where it is painted, and one model after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ImageColor
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion import X0, ClassifierFree, Deis, Denoised, Denoiser, EdmGrid, repeat_rows
from bottega.systems.diffusion.edm_experts.config import EfficientUnetConfig
from bottega.systems.diffusion.edm_experts.model import EdmExperts, Experts
from bottega.systems.diffusion.edm_experts.objective import PATH, told_coarse
from bottega.tokenizers import BpeTokenizer

Report = Callable[[int, int, Tensor, Tensor], None]
REACH = 120.0
"""How far a painted pixel may be from a named colour, in levels of 0 to 255."""
COARSE_NOISE = 0.1
"""Noise on the coarse picture when it is enlarged, as a standard deviation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """A painted region.

    Args:
        phrase: The words of the prompt that it is tied to.
        mask: Its pixels, bool `(height, width)`.
    """

    phrase: str
    mask: np.ndarray


def read_regions(painting: np.ndarray, words: str) -> tuple[Region, ...]:
    """The regions of a painting.

    Args:
        painting: uint8 `(height, width, 3)`; white is nothing.
        words: Colours tied to words: "red: heart; #0000ff: dog".

    Raises:
        RequestError: A pair is no pair, a colour is unknown, or nothing is painted in one of them.
    """
    pairs = [part.partition(":") for part in words.split(";") if part.strip()]
    if not pairs or any(not (colour.strip() and phrase.strip()) for colour, _, phrase in pairs):
        raise RequestError.of("words", words, 'colours tied to words, such as "red: heart; blue: dog"')
    colours = [(255, 255, 255), *(_colour(colour.strip()) for colour, _, _ in pairs)]
    away = np.stack([np.linalg.norm(painting.astype(float) - colour, axis=-1) for colour in colours])
    nearest = np.where(away.min(0) < REACH, away.argmin(0), 0)
    regions = tuple(
        Region(phrase=" ".join(phrase.split()), mask=nearest == i) for i, (_, _, phrase) in enumerate(pairs, 1)
    )
    for region, (colour, _, _) in zip(regions, pairs, strict=True):
        if not region.mask.any():
            raise RequestError.of("paint", colour.strip(), "a colour that is in the painting", "paint with it")
    return regions


def _colour(name: str) -> tuple[int, int, int]:
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise RequestError.of("colour", name, "a name such as red, or #rrggbb") from error


def boost_of(model: EdmExperts, prompt: str, regions: Sequence[Region], strength: float) -> Tensor:
    """How much stronger each pixel of the base model looks at each token of both texts.

    Args:
        model: The pipeline.
        prompt: The text.
        regions: Where its words were painted.
        strength: The paper's w'.

    Returns:
        `(tokens of CLIP and of T5, size, size)`, without the factor log(1 + sigma).

    Raises:
        RequestError: A region's words are not in the prompt.

    Source: arXiv:2211.01324, section 4.4.
    """
    size, words = model.config.base.unet.size, model.words()
    lengths = (model.config.clip_text.context, model.config.t5_tokens)
    boost = torch.zeros(sum(lengths), size, size)
    for region in regions:
        mask = torch.from_numpy(region.mask).float()[None, None]
        cover = strength * F.interpolate(mask, size=(size, size), mode="area")[0, 0]
        for place in token_places(words, prompt, region.phrase):
            for start, length in zip((0, lengths[0]), lengths, strict=True):
                if place < length:
                    boost[start + place] = torch.maximum(boost[start + place], cover)
    return boost


def token_places(words: BpeTokenizer, prompt: str, phrase: str) -> list[int]:
    """Where a phrase's tokens stand in a prompt's, the start token counted.

    Raises:
        RequestError: It does not stand there.
    """
    whole, part = words.ids(prompt), words.ids(phrase)
    first = 0 if words.start is None else 1
    for place in range(len(whole) - len(part) + 1):
        if part and whole[place : place + len(part)] == part:
            return [first + place + i for i in range(len(part))]
    raise RequestError.of("words", phrase, f"words of the prompt {prompt!r}")


def draw_base(
    model: EdmExperts, told: dict[str, Tensor], noise: Tensor, *, steps: int, guidance: float, report: Report
) -> Tensor:
    """The smallest pictures `(batch, 3, size, size)` from noise of unit deviation."""
    null = dict(model.nothing())
    if "boost" in told:
        null["boost"] = torch.zeros_like(told["boost"][:1])
    return _draw(model.base, told, null, noise, steps, guidance, report)


def draw_upscaled(
    model: EdmExperts,
    told: dict[str, Tensor],
    coarse: Tensor,
    noises: Sequence[tuple[Tensor, Tensor]],
    *,
    steps: int,
    guidance: float,
    report: Report,
) -> Tensor:
    """The pictures of every model that enlarges, one after another.

    Args:
        model: The pipeline.
        told: What the words and the style say.
        coarse: The base model's pictures.
        noises: For each model, noise on the coarse picture and noise to start from.
        steps: Denoising steps of each.
        guidance: Scale of classifier-free guidance.
        report: As solvers call it.
    """
    words = {name: value for name, value in told.items() if name != "boost"}
    for upscaler, (dirt, start) in zip(model.upscalers, noises, strict=True):
        if not isinstance(upscaler, Experts) or not isinstance(upscaler.stage.unet, EfficientUnetConfig):
            raise TypeError("a model that enlarges has an Efficient U-Net")
        level = torch.full((len(coarse),), COARSE_NOISE, device=coarse.device)
        asked = told_coarse(words, coarse, dirt, level, upscaler.stage.unet)
        null = {**repeat_rows(model.nothing(), len(coarse)), "low": asked["low"], "augment": asked["augment"]}
        coarse = _draw(upscaler, asked, null, start, steps, guidance, report)
    return coarse


def _draw(
    network: Experts,
    told: dict[str, Tensor],
    null: dict[str, Tensor],
    noise: Tensor,
    steps: int,
    guidance: float,
    report: Report,
) -> Tensor:
    denoiser: Denoiser = ClassifierFree(scale=guidance, null_cond=null)(Denoised(network, PATH, X0()))
    times = EdmGrid(steps)(PATH)
    return Deis()(denoiser, noise * PATH.sigma(times[0]), times, PATH, cond=told, report=report)
