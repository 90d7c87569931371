"""Min-SNR as a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bottega.room import System
from bottega.systems.diffusion.min_snr.checkpoints import FORMATS
from bottega.systems.diffusion.min_snr.config import PRESETS, MinSnrOptions, configure
from bottega.systems.diffusion.min_snr.evaluation import evaluate
from bottega.systems.diffusion.min_snr.inference import MinSnrRequest, infer, prior
from bottega.systems.diffusion.min_snr.model import MinSnrPipeline
from bottega.systems.diffusion.min_snr.recipe import STAGES
from bottega.worlds import EmojiWorld, source_at


def _source(place: str | Path | None) -> Any:  # noqa: ANN401 - a world or a folder; the stage asks for pictures
    return source_at(place, EmojiWorld(split="train", size=16, scenes=0.0))


SYSTEM = System(
    presets=PRESETS,
    build=MinSnrPipeline,
    request=MinSnrRequest,
    infer=infer,
    tiny_request=MinSnrRequest(steps=2),
    formats=FORMATS,
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    prior=prior,
    options=MinSnrOptions,
    configure=configure,
)
