"""The least that a room can be."""

from dataclasses import dataclass

from torch import nn

from bottega.results import WordsResult
from bottega.room import Preset, System


@dataclass(frozen=True, kw_only=True, slots=True)
class EmptyConfig:
    """No choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmptyRequest:
    """No question."""


SYSTEM = System(
    presets={"only": Preset(config=EmptyConfig(), parameters=2, source="ours")},
    build=lambda config: nn.Linear(1, 1),
    request=EmptyRequest,
    infer=lambda model, request, report: WordsResult(words=("nothing",), seed=0),
    tiny_request=EmptyRequest(),
)
