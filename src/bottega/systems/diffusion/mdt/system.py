"""MDT as a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bottega.room import System
from bottega.systems.diffusion.mdt.checkpoints import FORMATS
from bottega.systems.diffusion.mdt.config import PRESETS
from bottega.systems.diffusion.mdt.evaluation import evaluate
from bottega.systems.diffusion.mdt.inference import MdtRequest, infer, prior
from bottega.systems.diffusion.mdt.model import MdtPipeline
from bottega.systems.diffusion.mdt.recipe import STAGES
from bottega.worlds import EmojiWorld, source_at


def _source(place: str | Path | None) -> Any:  # noqa: ANN401 - a world or a folder; the stage asks for pictures
    return source_at(place, EmojiWorld(split="train", scenes=0.0, size=32))


SYSTEM = System(
    presets=PRESETS,
    build=MdtPipeline,
    request=MdtRequest,
    infer=infer,
    tiny_request=MdtRequest(inputs=("0",), steps=2),
    bundled="tiny",
    formats=FORMATS,
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    prior=prior,
)
