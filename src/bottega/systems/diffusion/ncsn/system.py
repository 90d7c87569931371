"""NCSN as a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bottega.room import System
from bottega.systems.diffusion.ncsn.checkpoints import FORMATS
from bottega.systems.diffusion.ncsn.config import PRESETS
from bottega.systems.diffusion.ncsn.evaluation import evaluate
from bottega.systems.diffusion.ncsn.inference import NcsnRequest, files, infer
from bottega.systems.diffusion.ncsn.model import Ncsn
from bottega.systems.diffusion.ncsn.recipe import STAGES
from bottega.systems.diffusion.ncsn.sampling import prior
from bottega.worlds import EmojiWorld, source_at


def _source(place: str | Path | None) -> Any:  # noqa: ANN401 - a world or a folder; the stage asks for pictures
    return source_at(place, EmojiWorld(split="train", scenes=0.0))


SYSTEM = System(
    presets=PRESETS,
    build=Ncsn,
    request=NcsnRequest,
    infer=infer,
    tiny_request=NcsnRequest(levels=3, steps_per_level=1),
    formats=FORMATS,
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    files=files,
    prior=prior,
)
