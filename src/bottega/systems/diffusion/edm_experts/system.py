"""eDiff-I as a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bottega.room import System
from bottega.systems.diffusion.edm_experts.config import PRESETS
from bottega.systems.diffusion.edm_experts.evaluation import evaluate
from bottega.systems.diffusion.edm_experts.inference import EdmExpertsRequest, files, infer, prior
from bottega.systems.diffusion.edm_experts.model import EdmExperts
from bottega.systems.diffusion.edm_experts.recipe import STAGES
from bottega.worlds import ColouredEmojiWorld, source_at


def _source(place: str | Path | None) -> Any:  # noqa: ANN401 - a world or a folder; the stages ask for pictures
    return source_at(place, ColouredEmojiWorld())


SYSTEM = System(
    presets=PRESETS,
    build=EdmExperts,
    request=EdmExpertsRequest,
    infer=infer,
    tiny_request=EdmExpertsRequest(steps=2, upscale_steps=2),
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    attach=EdmExperts.attach,
    assets=EdmExperts.assets,
    files=files,
    prior=prior,
)
