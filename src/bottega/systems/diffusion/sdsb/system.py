"""Simplified DSB as a record."""

from __future__ import annotations

from pathlib import Path

from bottega.data import open_source
from bottega.room import System
from bottega.systems.diffusion.sdsb.checkpoints import FORMATS
from bottega.systems.diffusion.sdsb.config import PRESETS
from bottega.systems.diffusion.sdsb.evaluation import evaluate
from bottega.systems.diffusion.sdsb.inference import SdsbRequest, files, infer
from bottega.systems.diffusion.sdsb.model import Sdsb
from bottega.systems.diffusion.sdsb.recipe import STAGES, BundledEnds, FolderEnds


def _source(place: str | Path | None) -> BundledEnds | FolderEnds:
    """The ends that the configuration names, or a folder with the folders `first` and `second`."""
    if place is None:
        return BundledEnds()
    first, second = (open_source(str(Path(place) / name)) for name in ("first", "second"))
    return FolderEnds(first, second)


SYSTEM = System(
    presets=PRESETS,
    build=Sdsb,
    request=SdsbRequest,
    infer=infer,
    tiny_request=SdsbRequest(points=20, count=1),
    formats=FORMATS,
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    files=files,
)
