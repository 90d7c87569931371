"""Score SDE as a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bottega.room import System
from bottega.systems.diffusion.score_sde.checkpoints import FORMATS
from bottega.systems.diffusion.score_sde.config import PRESETS
from bottega.systems.diffusion.score_sde.evaluation import evaluate
from bottega.systems.diffusion.score_sde.inference import ScoreSdeRequest, files, infer
from bottega.systems.diffusion.score_sde.model import ScoreSde
from bottega.systems.diffusion.score_sde.recipe import STAGES
from bottega.systems.diffusion.score_sde.sampling import prior
from bottega.worlds import EmojiWorld, source_at


def _source(place: str | Path | None) -> Any:  # noqa: ANN401 - a world or a folder; the stage asks for pictures
    return source_at(place, EmojiWorld(split="train", scenes=0.0))


SYSTEM = System(
    presets=PRESETS,
    build=ScoreSde,
    request=ScoreSdeRequest,
    infer=infer,
    tiny_request=ScoreSdeRequest(steps=2),
    bundled="tiny",
    formats=FORMATS,
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    files=files,
    prior=prior,
)
