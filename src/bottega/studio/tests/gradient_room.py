"""A small system that really works: a module that denoises a colour gradient in steps. The studio's tests run it.

It has the modes of UniDiffuser, reads and makes pictures and words, and takes milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor, nn

from bottega.catalog import Ready
from bottega.data import fit_picture, picture_to_tensor, read_picture, tensor_to_picture
from bottega.errors import RequestError
from bottega.results import PicturesResult, WeightsOrigin, WordsResult
from bottega.room import Card, Preset, Progress, Report, Result, System

SIDE = 64
COLOURS = {"red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1), "white": (1, 1, 1), "black": (-1, -1, -1)}

CARD = Card(
    title="Gradient",
    sentence="Words become a gradient of colours, and a picture becomes the name of its colour.",
    citation="The tests of this repository.",
    papers=(),
    peer="none",
    licence="Nothing to know.",
)


class Mode(Enum):
    """What to make from what."""

    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_TEXT = "image-to-text"
    JOINT = "joint"
    IMAGE = "image"
    TEXT = "text"
    IMAGE_VARIATION = "image-variation"
    TEXT_VARIATION = "text-variation"

    @property
    def takes(self) -> str:
        """What the inputs are."""
        source, dash, _ = self.value.partition("-")
        return "nothing" if not dash else "picture" if source == "image" else "text"


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientConfig:
    """Sizes of the module."""

    letters: int = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientRequest:
    """What to paint.

    Args:
        inputs: Prompts, or paths of pictures.
        mode: What to make from what.
        count: Pictures or texts per input, at least 1.
        steps: Denoising steps, from 1 to 2000.
        guidance: Strength of the prompt, from 0 to 30.
        seed: Equal seeds make equal bits.
        pause: Seconds to rest after each step.
        fault: Whether to break down in the middle, as a bug would.
    """

    inputs: tuple[str, ...] = ()
    mode: Mode = Mode.TEXT_TO_IMAGE
    count: int = 1
    steps: int = 20
    guidance: float = 3.0
    seed: int = 0
    pause: float = 0.0
    fault: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 2000:
            raise RequestError.of("steps", self.steps, "from 1 to 2000")
        if self.count < 1:
            raise RequestError.of("count", self.count, "at least 1")
        if not 0 <= self.guidance <= 30:
            raise RequestError.of("guidance", self.guidance, "from 0 to 30")
        if self.mode.value.split("-")[0] != self.mode.value and not self.inputs:
            raise RequestError("nothing was given; write a prompt or give a picture")


class Painter(nn.Module):
    """Knows two colours for every text, and walks from noise to the gradient between them."""

    def __init__(self, config: GradientConfig) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.letters = nn.EmbeddingBag(config.letters, 6, mode="sum")
            self.ends = nn.Linear(6, 6)

    def gradient(self, text: str) -> Tensor:
        letters = torch.tensor([list((text or "nothing").encode())])
        first, last = self.ends(self.letters(letters)).tanh().view(2, 3, 1)
        named = [torch.tensor(COLOURS[word]).float().view(3, 1) for word in text.split() if word in COLOURS]
        ends = [*named, first, last][:2]
        ramp = torch.linspace(0, 1, SIDE)
        return (ends[0] * (1 - ramp) + ends[1] * ramp).unsqueeze(1).expand(3, SIDE, SIDE)

    def forward(self, noisy: Tensor, target: Tensor, steps_left: int) -> Tensor:
        return noisy + (target - noisy) / steps_left


@torch.no_grad()
def infer(model: nn.Module, request: GradientRequest, report: Report) -> Result:
    """Denoises every input `count` times."""
    assert isinstance(model, Painter)
    takes_picture = request.mode in (Mode.IMAGE_TO_TEXT, Mode.IMAGE_VARIATION)
    sources = [name for name in (request.inputs or ("",)) for _ in range(request.count)]
    targets = torch.stack([_of_picture(name) if takes_picture else model.gradient(name) for name in sources])
    noisy = torch.randn(targets.shape, generator=torch.Generator().manual_seed(request.seed))
    for step in range(1, request.steps + 1):
        noisy = model(noisy, targets + 0.05 * torch.sin(noisy), request.steps - step + 1)
        report(Progress(step=step, total=request.steps, stage="denoise", preview=_preview(noisy)))
        time.sleep(request.pause)
        if request.fault:
            raise KeyError("/etc/secret/fault at 0x7fffdeadbeef")
    names = tuple(_name(picture) for picture in noisy)
    if request.mode in (Mode.IMAGE_TO_TEXT, Mode.TEXT, Mode.TEXT_VARIATION):
        return WordsResult(words=names, seed=request.seed)
    captions = tuple(sources) if request.mode is Mode.TEXT_TO_IMAGE else names
    pictures = np.stack([tensor_to_picture(picture) for picture in noisy])
    return PicturesResult(pictures=pictures, captions=captions, seed=request.seed)


def _of_picture(path: str) -> Tensor:
    return picture_to_tensor(fit_picture(read_picture(path), SIDE))


def _preview(noisy: Tensor) -> Callable[[], np.ndarray]:
    return lambda: np.concatenate([tensor_to_picture(picture) for picture in noisy[:4]], axis=1)


def _name(picture: Tensor) -> str:
    mean = picture.mean((1, 2))
    return min(COLOURS, key=lambda name: float((torch.tensor(COLOURS[name]) - mean).square().sum()))


def _files(request: GradientRequest) -> tuple[str, ...]:
    return request.inputs if request.mode in (Mode.IMAGE_TO_TEXT, Mode.IMAGE_VARIATION) else ()


SYSTEM = System(
    presets={"tiny": Preset(config=GradientConfig(), parameters=1578, source="here")},
    build=Painter,
    request=GradientRequest,
    infer=infer,
    tiny_request=GradientRequest(inputs=("red",)),
    bundled="tiny",
    files=_files,
)


class GradientCatalog:
    """A catalog of this one system."""

    def systems(self) -> list[str]:
        return ["gradient"]

    def card(self, system_id: str) -> Card:
        return CARD

    def get(self, system_id: str) -> System:
        return SYSTEM

    def load(self, system_id: str, parts: Mapping[str, str]) -> Ready:
        weights = WeightsOrigin(sha256="0" * 64, source="bundled")
        config = GradientConfig()
        return Ready(
            id="gradient", preset="tiny", config=config, model=Painter(config).eval(), weights=weights, system=SYSTEM
        )
