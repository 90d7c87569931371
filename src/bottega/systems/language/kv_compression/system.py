"""KV compression as a record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from bottega.errors import RequestError
from bottega.processes.decoding import Language
from bottega.room import Offer, System
from bottega.systems.language.kv_compression.config import PRESETS
from bottega.systems.language.kv_compression.evaluation import evaluate
from bottega.systems.language.kv_compression.inference import KvCompressionRequest, files, infer
from bottega.systems.language.kv_compression.model import KvCompression
from bottega.systems.language.kv_compression.objective import emojis
from bottega.systems.language.kv_compression.recipe import STAGES
from bottega.systems.language.kv_compression.sampling import Method
from bottega.worlds import EmojiWorld


def _connect(model: nn.Module, parts: Mapping[str, Language]) -> None:
    if not isinstance(model, KvCompression):
        raise TypeError(f"the room is a KvCompression, not a {type(model).__name__}")
    model.connect(parts)


def _source(place: str | Path | None) -> EmojiWorld:
    if place not in (None, "emoji"):
        raise RequestError.of(
            "data", str(place), 'the world "emoji"', "the reader's words are emoji's groups and classes"
        )
    return emojis()


SYSTEM = System(
    presets=PRESETS,
    build=KvCompression,
    request=KvCompressionRequest,
    infer=infer,
    tiny_request=KvCompressionRequest(
        inputs=("What is (12 + 7) * 3?\n",), method=Method.H2O, budget=8, max_new_tokens=12
    ),
    bundled="tiny",
    stages=STAGES,
    open_source=_source,
    evaluate=evaluate,
    files=files,
    parts={"target": Offer.LANGUAGE},
    connect=_connect,
)
