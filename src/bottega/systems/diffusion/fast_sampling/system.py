"""Fast sampling as a record."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from bottega.processes.diffusion import Prior
from bottega.room import Offer, System
from bottega.systems.diffusion.fast_sampling.config import PRESETS
from bottega.systems.diffusion.fast_sampling.evaluation import evaluate
from bottega.systems.diffusion.fast_sampling.inference import FastSamplingRequest, infer
from bottega.systems.diffusion.fast_sampling.model import FastSampling


def _connect(model: nn.Module, parts: Mapping[str, Prior]) -> None:
    if not isinstance(model, FastSampling):
        raise TypeError(f"fast sampling is a FastSampling, not a {type(model).__name__}")
    model.connect(parts)


SYSTEM = System(
    presets=PRESETS,
    build=FastSampling,
    request=FastSamplingRequest,
    infer=infer,
    tiny_request=FastSamplingRequest(steps=2),
    evaluate=evaluate,
    parts={"prior": Offer.PRIOR},
    connect=_connect,
)
