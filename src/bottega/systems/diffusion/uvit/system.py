"""U-ViT as a record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from bottega.room import System
from bottega.systems.diffusion.uvit.checkpoints import FORMATS
from bottega.systems.diffusion.uvit.config import PRESETS
from bottega.systems.diffusion.uvit.evaluation import evaluate
from bottega.systems.diffusion.uvit.inference import UVitRequest, infer, prior
from bottega.systems.diffusion.uvit.model import UVitPipeline
from bottega.systems.diffusion.uvit.recipe import STAGES
from bottega.worlds import EmojiWorld, source_at


def _source(place: str | Path | None) -> Any:  # noqa: ANN401 - a world or a folder; the stage asks for pictures
    return source_at(place, EmojiWorld(split="train", scenes=0.0))


def _pipeline(model: nn.Module) -> UVitPipeline:
    if not isinstance(model, UVitPipeline):
        raise TypeError(f"U-ViT is a UVitPipeline, not a {type(model).__name__}")
    return model


def _attach(model: nn.Module, assets: Mapping[str, str]) -> None:
    _pipeline(model).attach(assets)


def _assets(model: nn.Module) -> Mapping[str, str]:
    return _pipeline(model).assets()


SYSTEM = System(
    presets=PRESETS,
    build=UVitPipeline,
    request=UVitRequest,
    infer=infer,
    tiny_request=UVitRequest(steps=2),
    formats=FORMATS,
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    attach=_attach,
    assets=_assets,
    prior=prior,
)
