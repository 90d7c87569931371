"""DragDiffusion as a record."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from bottega.processes.diffusion import Prior
from bottega.room import Offer, System
from bottega.systems.image.dragdiffusion.config import PRESETS
from bottega.systems.image.dragdiffusion.inference import DragDiffusionRequest, dragger, files, infer
from bottega.systems.image.dragdiffusion.model import DragDiffusion


def _connect(model: nn.Module, parts: Mapping[str, Prior]) -> None:
    if not isinstance(model, DragDiffusion):
        raise TypeError(f"DragDiffusion is a DragDiffusion, not a {type(model).__name__}")
    model.connect(parts)


SYSTEM = System(
    presets=PRESETS,
    build=DragDiffusion,
    request=DragDiffusionRequest,
    infer=infer,
    tiny_request=DragDiffusionRequest(inputs=("a cat",), handles="30,30", targets="36,30", steps=2, denoising=4),
    files=files,
    dragger=dragger,
    parts={"prior": Offer.PRIOR},
    connect=_connect,
)
