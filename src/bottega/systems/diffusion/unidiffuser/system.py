"""UniDiffuser as a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bottega.room import System
from bottega.systems.diffusion.unidiffuser.checkpoints import FORMATS
from bottega.systems.diffusion.unidiffuser.config import PRESETS
from bottega.systems.diffusion.unidiffuser.evaluation import evaluate
from bottega.systems.diffusion.unidiffuser.inference import UniDiffuserRequest, files, infer
from bottega.systems.diffusion.unidiffuser.model import UniDiffuser
from bottega.systems.diffusion.unidiffuser.recipe import STAGES
from bottega.systems.diffusion.unidiffuser.sampling import prior
from bottega.worlds import EmojiWorld, source_at


def _source(place: str | Path | None) -> Any:  # noqa: ANN401 - a world or a folder; the stages ask for pairs
    return source_at(place, EmojiWorld(split="train", scenes=0.2))


SYSTEM = System(
    presets=PRESETS,
    build=UniDiffuser,
    request=UniDiffuserRequest,
    infer=infer,
    tiny_request=UniDiffuserRequest(inputs=("red apple",), steps=2),
    formats=FORMATS,
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    attach=UniDiffuser.attach,
    assets=UniDiffuser.assets,
    files=files,
    prior=prior,
)
