"""The posterior room as a record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from bottega.processes.diffusion import Prior
from bottega.room import Offer, System
from bottega.systems.diffusion.posterior.config import PRESETS
from bottega.systems.diffusion.posterior.evaluation import evaluate
from bottega.systems.diffusion.posterior.inference import PosteriorRequest, Task, files, infer
from bottega.systems.diffusion.posterior.model import Posterior
from bottega.systems.diffusion.posterior.recipe import STAGES, Studies, room_of
from bottega.worlds import source_at


def _source(place: str | Path | None) -> Any:  # noqa: ANN401 - a world or a folder; the stages ask for what they need
    return source_at(place, Studies())


def _connect(model: nn.Module, parts: Mapping[str, Prior]) -> None:
    room_of(model).connect(parts)


SYSTEM = System(
    presets=PRESETS,
    build=Posterior,
    request=PosteriorRequest,
    infer=infer,
    tiny_request=PosteriorRequest(task=Task.CT, steps=2),  # of its own weights alone
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    files=files,
    parts={"prior": Offer.PRIOR},
    connect=_connect,
)
