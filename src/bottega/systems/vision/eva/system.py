"""EVA as a record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from bottega.networks import ImageText
from bottega.room import System
from bottega.systems.vision.eva.checkpoints import FORMATS
from bottega.systems.vision.eva.config import PRESETS, EvaOptions, configure
from bottega.systems.vision.eva.evaluation import evaluate
from bottega.systems.vision.eva.inference import EvaRequest, files, infer
from bottega.systems.vision.eva.model import EvaRoom
from bottega.systems.vision.eva.recipe import STAGES, room_of
from bottega.worlds import source_at
from bottega.worlds.emoji import EmojiPlacesWorld


def _source(place: str | Path | None) -> Any:  # noqa: ANN401 - a world or a folder; the stages ask for pairs
    return source_at(place, EmojiPlacesWorld())


def _attach(model: nn.Module, assets: Mapping[str, str]) -> None:
    room_of(model).attach(assets)


def _assets(model: nn.Module) -> Mapping[str, str]:
    return room_of(model).assets()


def _image_text(model: nn.Module) -> ImageText:
    return room_of(model).image_text()


SYSTEM = System(
    presets=PRESETS,
    build=EvaRoom,
    request=EvaRequest,
    infer=infer,
    tiny_request=EvaRequest(),
    formats=FORMATS,
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    attach=_attach,
    assets=_assets,
    files=files,
    image_text=_image_text,
    options=EvaOptions,
    configure=configure,
)
