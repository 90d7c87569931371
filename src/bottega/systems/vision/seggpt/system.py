"""SegGPT as a record."""

from __future__ import annotations

from bottega.room import Offer, System
from bottega.systems.vision.seggpt.checkpoints import FORMATS
from bottega.systems.vision.seggpt.config import PRESETS
from bottega.systems.vision.seggpt.evaluation import evaluate
from bottega.systems.vision.seggpt.inference import SegGptRequest, SegGptSegmenter, files, infer
from bottega.systems.vision.seggpt.model import SegGpt
from bottega.systems.vision.seggpt.recipe import STAGES, open_contexts

SYSTEM = System(
    presets=PRESETS,
    build=SegGpt,
    request=SegGptRequest,
    infer=infer,
    tiny_request=SegGptRequest(),
    formats=FORMATS,
    stages=STAGES,
    open_source=open_contexts,
    evaluate=evaluate,
    files=files,
    in_context=SegGptSegmenter,
    parts={"segmenter": Offer.SEGMENTER},
    connect=SegGpt.connect,
)
