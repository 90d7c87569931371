"""A model of a few hundred numbers that does what the catalog and the command line ask of a room."""

from __future__ import annotations

import enum
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from bottega.errors import FileError, RequestError
from bottega.results import PicturesResult, WordsResult
from bottega.room import Checkpoint, CheckpointFormat, Measure, Preset, Progress, Report, Stage, System
from bottega.training import FitSettings, decay_groups, descend
from bottega.weights import Rename, read_tensors, to_ours, to_theirs, write_tensors


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientConfig:
    """Size.

    Args:
        width: Hidden channels.
        side: Side of a picture in pixels.
    """

    width: int = 16
    side: int = 32


class Gradient(nn.Module):
    """A code and a place to a colour."""

    def __init__(self, config: GradientConfig) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Linear(4, config.width)
        self.last = nn.Linear(config.width, 3)
        self.notes: Mapping[str, str] = {}

    def forward(self, codes: Tensor) -> Tensor:
        """Codes `(n, 2)` to pictures `(n, side, side, 3)` in [0, 1]."""
        line = torch.linspace(-1, 1, self.config.side)
        place = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1)
        place = place.expand(len(codes), -1, -1, -1)
        code = codes[:, None, None].expand(-1, self.config.side, self.config.side, -1)
        return self.last(self.first(torch.cat([place.to(codes), code], -1)).tanh()).sigmoid()


class Mode(enum.Enum):
    """What is made of what."""

    PAINT = "paint"
    DESCRIBE = "describe"


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientRequest:
    """What to paint.

    Args:
        inputs: Prompts to paint, or picture files to describe.
        mode: What is made of what.
        count: Pictures per prompt, 1 to 64.
        steps: Refinements, 1 to 1000.
        guidance: How strongly the words count, 0 to 100.
        seed: Source of randomness, 0 to 2^63 - 1.
    """

    inputs: tuple[str, ...] = ()
    mode: Mode = Mode.PAINT
    count: int = 1
    steps: int = 4
    guidance: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("count", self.count, 1, 64),
            ("steps", self.steps, 1, 1000),
            ("guidance", self.guidance, 0, 100),
            ("seed", self.seed, 0, 2**63 - 1),
        ):
            if not low <= value <= high:
                raise RequestError.of(name, value, f"from {low} to {high}")
        if not self.inputs:
            raise RequestError.of(
                "inputs", self.inputs, f"at least one {'prompt' if self.mode is Mode.PAINT else 'file'}"
            )


@torch.no_grad()
def infer(model: Gradient, request: GradientRequest, report: Report) -> PicturesResult | WordsResult:
    """Runs a request."""
    if request.mode is Mode.DESCRIBE:
        return WordsResult(
            words=tuple(_describe(path) for path in request.inputs), sources=request.inputs, seed=request.seed
        )
    generator = torch.Generator().manual_seed(request.seed)
    prompts = tuple(prompt for prompt in request.inputs for _ in range(request.count))
    codes = torch.stack([torch.tensor([zlib.crc32(p.encode()) % 100 / 50 - 1, request.guidance]) for p in prompts])
    codes = codes + 0.1 * torch.randn(codes.shape, generator=generator)
    pictures = model(codes.to(model.first.weight))
    for step in range(request.steps):
        report(Progress(step=step + 1, total=request.steps, stage="paint"))
        pictures = 0.9 * pictures + 0.1 * pictures.flip(1)
    values = (pictures.float() * 255).round().to(torch.uint8).cpu().numpy()
    return PicturesResult(pictures=values, captions=prompts, seed=request.seed, settings={"steps": request.steps})


def _describe(path: str) -> str:
    try:
        with Image.open(path) as image:
            mean = np.asarray(image.convert("RGB")).mean((0, 1))
    except OSError as error:
        raise FileError(f"{path} cannot be read as a picture ({error})") from error
    return f"mostly {('red', 'green', 'blue')[int(mean.argmax())]}"


class GradientRecipe:
    """Learns pictures by their number."""

    def __init__(self, model: Gradient, source: Sequence[np.ndarray]) -> None:
        self.model, self.source = model, source

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Codes and mean colours."""
        colors = np.stack([self.source[index].reshape(-1, 3).mean(0) / 255 for index in indices])
        return torch.tensor([[index / len(self), 1.0] for index in indices]), torch.from_numpy(colors).float()

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, object]]:
        """All of them."""
        return decay_groups(self.model, settings)

    def step(self, state: object, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
        """One update."""
        return descend(state, batch, lambda part: (self.model(part[0]) - part[1][:, None, None]).square().mean())


def open_source(place: str | Path | None) -> Sequence[np.ndarray]:
    """Eight plain colours, or the user's pictures."""
    if place is None:
        return [np.full((4, 4, 3), (index * 30, 128, 255 - index * 30), dtype=np.uint8) for index in range(8)]
    files = sorted(Path(place).glob("*.png"))
    if not files:
        raise FileError(f"{place} holds no pictures")
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


@torch.no_grad()
def evaluate(model: Gradient, seed: int, limit: int, report: Report) -> Mapping[str, Measure]:
    """How dark it paints."""
    mean = float(model(torch.zeros(1, 2)).mean())
    return {"brightness": Measure(value=mean, baseline=0.5, control=0.1, samples=limit)}


TABLE = (Rename("first.{name}", "one.{name}"), Rename("last.{name}", "two.{name}"))


def _read(path: Path, config: GradientConfig | None) -> Checkpoint:
    if config is None:
        raise RequestError.of("preset", None, "given with the format 'bare', which does not say its size")
    return Checkpoint(config=config, tensors=to_ours(TABLE, read_tensors(path)))


def _write(checkpoint: Checkpoint, path: Path) -> None:
    write_tensors(path, to_theirs(TABLE, checkpoint.tensors))


def attach(model: Gradient, assets: Mapping[str, str]) -> None:
    """Keeps the notes."""
    model.notes = dict(assets)


def recipe(model: Gradient, source: Sequence[np.ndarray]) -> GradientRecipe:
    """The one stage's recipe."""
    return GradientRecipe(model, source)


PRESETS = {
    "tiny": Preset(config=GradientConfig(), parameters=131, source="ours"),
    "large": Preset(config=GradientConfig(width=64, side=64), parameters=515, source="ours"),
}
SETTINGS = FitSettings(steps=20, batch_size=4, save_every=5, log_every=5, warmup_steps=5)
SYSTEM = System(
    presets=PRESETS,
    build=Gradient,
    request=GradientRequest,
    infer=infer,
    tiny_request=GradientRequest(inputs=("red apple",), steps=2),
    formats={"bare": CheckpointFormat(description="a bare state dict", read=_read, write=_write)},
    bundled="tiny",
    stages=(
        Stage(name="colors", recipe=recipe, settings=SETTINGS),
        Stage(name="own", recipe=recipe, settings=SETTINGS, finetune=True),
    ),
    open_source=open_source,
    evaluate=evaluate,
    attach=attach,
    assets=lambda model: model.notes,
    files=lambda request: request.inputs if request.mode is Mode.DESCRIBE else (),
)
