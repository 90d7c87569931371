"""Few-step distillation as a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from bottega.processes.diffusion import Prior
from bottega.processes.distillation import GuidanceRange
from bottega.room import Offer, System
from bottega.systems.diffusion.distillation.config import (
    PRESETS,
    Consistency,
    ConsistencyTraining,
    DistillationConfig,
    Guided,
    LatentConsistency,
    Multistep,
    Progressive,
    Spacing,
)
from bottega.systems.diffusion.distillation.evaluation import evaluate
from bottega.systems.diffusion.distillation.inference import DistillationRequest, infer
from bottega.systems.diffusion.distillation.model import Distillation, prior
from bottega.systems.diffusion.distillation.recipe import STAGES
from bottega.worlds import EmojiWorld, source_at


class MethodName(Enum):
    """The methods by the names that users type."""

    PROGRESSIVE = "progressive"
    GUIDED = "guided"
    CONSISTENCY = "consistency"
    CONSISTENCY_TRAINING = "consistency_training"
    LCM = "lcm"
    MLCM = "mlcm"


METHODS = {
    MethodName.PROGRESSIVE: Progressive(),
    MethodName.GUIDED: Guided(),
    MethodName.CONSISTENCY: Consistency(),
    MethodName.CONSISTENCY_TRAINING: ConsistencyTraining(),
    MethodName.LCM: LatentConsistency(),
    MethodName.MLCM: Multistep(),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillationOptions:
    """What kind of student to train."""

    method: MethodName | None = None
    """How it learns; what the preset says when it is left out."""
    steps: int | None = None
    """Steps that it is made for, 1 to 8; 1, 2, 4 or 8 for the methods that halve."""
    guidance: tuple[float, float] | None = None
    """The least and the greatest strength of guidance that it learns; equal for a student of one strength."""


def configure(config: DistillationConfig, options: DistillationOptions) -> DistillationConfig:
    """A preset's configuration with the user's choices."""
    method = config.method if options.method is None else METHODS[options.method]
    steps = config.steps if options.steps is None else options.steps
    guidance = config.guidance
    if options.guidance is not None:
        guidance = GuidanceRange(low=options.guidance[0], high=options.guidance[1])
    spacing = Spacing.KARRAS if isinstance(method, Consistency | ConsistencyTraining) else Spacing.EVEN
    if options.method is None:
        spacing = config.spacing
    return replace(config, method=method, steps=steps, guidance=guidance, spacing=spacing)


def _source(place: str | Path | None) -> Any:  # noqa: ANN401 - a world or a folder; the stage asks for pictures
    return source_at(place, EmojiWorld(split="train", scenes=0.0))


def _connect(model: Distillation, parts: Mapping[str, Prior]) -> None:
    model.connect(parts["teacher"])


SYSTEM = System(
    presets=PRESETS,
    build=Distillation,
    request=DistillationRequest,
    infer=infer,
    tiny_request=DistillationRequest(),
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    prior=prior,
    parts={"teacher": Offer.PRIOR},
    connect=_connect,
    options=DistillationOptions,
    configure=configure,
)
