"""Diffusion Classifier as a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bottega.processes.diffusion import Prior
from bottega.room import Offer, System
from bottega.systems.diffusion.diffusion_classifier.config import PRESETS
from bottega.systems.diffusion.diffusion_classifier.evaluation import evaluate
from bottega.systems.diffusion.diffusion_classifier.inference import ClassifyRequest, infer
from bottega.systems.diffusion.diffusion_classifier.model import DiffusionClassifier


def _connect(model: Any, parts: Mapping[str, Prior]) -> None:  # noqa: ANN401 - the catalog hands over any module
    if not isinstance(model, DiffusionClassifier):
        raise TypeError(f"a diffusion classifier is a DiffusionClassifier, not a {type(model).__name__}")
    model.connect(parts)


SYSTEM = System(
    presets=PRESETS,
    build=DiffusionClassifier,
    request=ClassifyRequest,
    infer=infer,
    tiny_request=ClassifyRequest(labels=("cat face", "flag"), samples=2),
    evaluate=evaluate,
    files=lambda request: request.inputs,
    parts={"prior": Offer.PRIOR},
    connect=_connect,
)
