"""VDM as a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bottega.room import System
from bottega.systems.diffusion.vdm.config import PRESETS
from bottega.systems.diffusion.vdm.evaluation import evaluate
from bottega.systems.diffusion.vdm.inference import VdmRequest, files, infer, prior
from bottega.systems.diffusion.vdm.model import Vdm
from bottega.systems.diffusion.vdm.recipe import STAGES
from bottega.worlds import EmojiWorld, source_at


def _source(place: str | Path | None) -> Any:  # noqa: ANN401 - a world or a folder; the stage asks for pictures
    return source_at(place, EmojiWorld(split="train", size=16, scenes=0.0))


SYSTEM = System(
    presets=PRESETS,
    build=Vdm,
    request=VdmRequest,
    infer=infer,
    tiny_request=VdmRequest(count=2, steps=2),
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    files=files,
    prior=prior,
)
