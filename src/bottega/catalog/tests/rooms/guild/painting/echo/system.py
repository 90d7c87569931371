"""A room that asks another diffusion model; its preset "copy" starts as a copy of that and learns."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bottega.processes.diffusion import Prior
from bottega.results import WordsResult
from bottega.room import Offer, Preset, Report, Stage, System
from bottega.training import FitSettings, decay_groups, descend


@dataclass(frozen=True, kw_only=True, slots=True)
class EchoConfig:
    """What it works with."""

    teacher: str = "cloud"
    learns: bool = False
    loudness: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class EchoRequest:
    """What to say."""

    inputs: tuple[str, ...] = ()
    """Numbers."""
    seed: int = 0
    """The seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EchoOptions:
    """Choices of its training."""

    loudness: float | None = None
    """How loud."""
    steps: int | None = None
    """Steps of another kind than updates."""


class Echo(nn.Module):
    """Holds a teacher, and maybe a copy that is its own."""

    def __init__(self, config: EchoConfig) -> None:
        super().__init__()
        self.config = config
        self.teacher: Prior | None = None

    def connect(self, parts: Mapping[str, Prior]) -> None:
        """Takes the teacher."""
        self.teacher = parts["teacher"]
        if self.config.learns:
            self.student = copy.deepcopy(self.teacher.network)


def infer(model: Echo, request: EchoRequest, report: Report) -> WordsResult:
    """What the teacher says of a point, and the student."""
    point = torch.tensor([[float(text) for text in request.inputs] or [1.0, 1.0]])
    with torch.no_grad():
        said = [float(model.teacher.denoiser()(point, 0.5).sum())]
        if model.config.learns:
            said.append(float(model.student(point, torch.zeros(1)).sum()))
    return WordsResult(words=tuple(f"{value * model.config.loudness:.6f}" for value in said), seed=request.seed)


class EchoRecipe:
    """The student learns to say zero."""

    def __init__(self, model: Echo, source: Sequence[Tensor]) -> None:
        self.model, self.source = model, source

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Tensor:
        """Points."""
        return torch.stack([self.source[index] for index in indices])

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, object]]:
        """All of them."""
        return decay_groups(self.model, settings)

    def step(self, state: object, batch: Tensor) -> Mapping[str, Tensor]:
        """One update."""
        return descend(state, batch, lambda part: self.model.student(part, None).square().mean())


def configure(config: EchoConfig, options: EchoOptions) -> EchoConfig:
    """A louder echo."""
    return config if options.loudness is None else dataclasses.replace(config, loudness=options.loudness)


SYSTEM = System(
    presets={
        "tiny": Preset(config=EchoConfig(), parameters=0, source="ours"),
        "copy": Preset(config=EchoConfig(learns=True), parameters=22, source="ours"),
    },
    build=Echo,
    request=EchoRequest,
    infer=infer,
    tiny_request=EchoRequest(),
    stages=(Stage(name="learn", recipe=EchoRecipe, settings=FitSettings(steps=5, batch_size=2)),),
    open_source=lambda place: [torch.ones(2), torch.zeros(2)],
    parts={"teacher": Offer.PRIOR},
    connect=Echo.connect,
    options=EchoOptions,
    configure=configure,
)
