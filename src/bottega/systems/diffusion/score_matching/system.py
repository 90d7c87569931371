"""Score matching as a record."""

from __future__ import annotations

from bottega.room import System
from bottega.systems.diffusion.score_matching.config import PRESETS
from bottega.systems.diffusion.score_matching.evaluation import evaluate
from bottega.systems.diffusion.score_matching.inference import ScoreMatchingRequest, infer
from bottega.systems.diffusion.score_matching.model import ScoreMatching
from bottega.systems.diffusion.score_matching.recipe import STAGES, open_points

SYSTEM = System(
    presets=PRESETS,
    build=ScoreMatching,
    request=ScoreMatchingRequest,
    infer=infer,
    tiny_request=ScoreMatchingRequest(size=128, points=50),
    bundled="tiny",
    stages=STAGES,
    open_source=open_points,
    evaluate=evaluate,
)
