"""The data engine of Segment Anything with a simulated annotator.

Six assisted rounds, five semi-automatic ones, and the fully automatic stage. Source: arXiv:2304.02643, section 4.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.measure import RESULTS, Outcome, Row
from bottega.networks import VitDetConfig
from bottega.processes.segmentation import (
    Annotation,
    Annotator,
    AutomaticSettings,
    assisted,
    automatic,
    clicked,
    semi_automatic,
)
from bottega.results import curves
from bottega.systems.vision.sam.config import MaskDecoderConfig, SamConfig
from bottega.systems.vision.sam.inference import SamSegmenter
from bottega.systems.vision.sam.model import Sam
from bottega.systems.vision.sam.recipe import Rounds, SamRecipe
from bottega.training import Constant, FitSettings, Optimizer, Precision, fit
from bottega.worlds.segments import SegmentScene, SegmentsWorld

CONFIG = SamConfig(
    encoder=VitDetConfig(
        size=128, patch_size=8, width=96, depth=4, num_heads=4, window=8, global_blocks=(1, 3), out_channels=64
    ),
    decoder=MaskDecoderConfig(num_heads=4, hidden=256, score_hidden=64),
)
ASSISTED, SEMI = 6, 5
PUBLIC, PICTURES, STEPS, FIRST_STEPS, TESTED = 40, 24, 60, 300, 24
ANNOTATOR = Annotator()
SURE = AutomaticSettings(points=10, min_score=0.8, min_stability=0.85)


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineRound:
    """One round: who made how many masks of a picture, how long each took, and what the retrained model does then."""

    stage: str
    masks_per_picture: float
    filled_per_picture: float
    time_per_mask: float
    small_share: float
    overlap: float


@dataclass(slots=True)
class Collected:
    """What has been annotated so far, as pictures to learn from."""

    annotations: list[Annotation] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.annotations)

    def sample(self, index: int) -> Annotation:
        """The annotation at an index."""
        return self.annotations[index]

    def add(self, made: list[Annotation]) -> None:
        """Keeps those that have masks."""
        self.annotations += [each for each in made if len(each.masks)]


def run() -> Outcome:
    """Runs the engine and draws its curves."""
    torch.manual_seed(0)
    model, world, test = Sam(CONFIG), SegmentsWorld(size=128), SegmentsWorld(split="heldout", size=128, seed=9)
    tests = [test.sample(index) for index in range(TESTED)]
    scenes = [world.sample(index) for index in range(PUBLIC)]
    collected = Collected(
        [Annotation(picture=s.picture, masks=s.masks[s.levels == 0], filled=0, spent=0.0) for s in scenes]
    )
    with tempfile.TemporaryDirectory() as place:
        _learn(model, collected, Path(place) / "public", FIRST_STEPS)
        rounds = [EngineRound(
            stage="public data", masks_per_picture=0.0, filled_per_picture=0.0, time_per_mask=0.0, small_share=0.0,
            overlap=_overlap(model, tests),
        )]  # fmt: skip
        for number in range(ASSISTED + SEMI):
            stage = "assisted" if number < ASSISTED else "semi-automatic"
            start = PUBLIC + number * PICTURES
            made = [_annotated(model, world.sample(start + i), stage) for i in range(PICTURES)]
            collected.add(made)
            _learn(model, collected, Path(place) / str(number), STEPS)
            rounds.append(_round(stage, made, _overlap(model, tests)))
            print(f"  {number + 1}: {rounds[-1]}", flush=True)
        segmenter = SamSegmenter(model.eval())
        start = PUBLIC + (ASSISTED + SEMI) * PICTURES
        alone = [automatic(segmenter, world.sample(start + i).picture, SURE) for i in range(PICTURES)]
        rounds.append(_round("automatic", alone, rounds[-1].overlap))
    return _outcome(rounds)


def _annotated(model: Sam, scene: SegmentScene, stage: str) -> Annotation:
    segmenter = SamSegmenter(model.eval())
    if stage == "assisted":
        return assisted(segmenter, scene.picture, scene.masks, ANNOTATOR)
    return semi_automatic(segmenter, scene.picture, scene.masks, ANNOTATOR, SURE)


def _learn(model: Sam, collected: Collected, place: Path, steps: int) -> None:
    settings = FitSettings(
        steps=steps, batch_size=8, learning_rate=4e-3, optimizer=Optimizer.MUON, precision=Precision.BF16,
        schedule=Constant(), warmup_steps=10, save_every=0, seed=len(collected),
    )  # fmt: skip
    fit(SamRecipe(model.train(), collected, prompts=6, rounds=Rounds(graded=2)), settings, place)


@torch.inference_mode()
def _overlap(model: Sam, scenes: list[SegmentScene]) -> float:
    """Mean overlap after one click, over held-out scenes, in per cent."""
    segmenter, found = SamSegmenter(model.eval()), []
    for scene in scenes:
        (first,) = clicked(segmenter, segmenter.encode(scene.picture), torch.from_numpy(scene.masks), 1)
        found += first.overlaps.tolist()
    return 100 * float(np.mean(found))


def _round(stage: str, made: list[Annotation], overlap: float) -> EngineRound:
    count = sum(len(each.masks) for each in made)
    timed = [each.time_per_mask for each in made if len(each.masks) > each.filled]
    small = sum(int((each.masks.mean((1, 2)) < 0.01).sum()) for each in made)
    return EngineRound(
        stage=stage, masks_per_picture=count / len(made), overlap=overlap, small_share=small / max(count, 1),
        filled_per_picture=sum(each.filled for each in made) / len(made),
        time_per_mask=float(np.mean(timed)) if timed else 0.0,
    )  # fmt: skip


def _outcome(rounds: list[EngineRound]) -> Outcome:
    numbers = np.arange(len(rounds))
    lines = {
        "masks per picture": (numbers[1:], np.array([each.masks_per_picture for each in rounds[1:]])),
        "clicks per mask": (numbers[1:-1], np.array([each.time_per_mask for each in rounds[1:-1]])),
        "mIoU after a click, % / 10": (numbers, np.array([each.overlap / 10 for each in rounds])),
    }
    drawn = curves(lines, "Six assisted rounds, five semi-automatic, one automatic", "round", "")
    RESULTS.mkdir(exist_ok=True)
    Image.fromarray(drawn).save(RESULTS / "sam_data_engine.png")
    rows = [
        row
        for number, each in enumerate(rounds)
        for row in (
            Row(
                what=f"{number}. {each.stage}: masks per picture", value=each.masks_per_picture, unit="",
                note=f"{each.filled_per_picture:.1f} filled in; {each.time_per_mask:.1f} clicks each; "
                f"{100 * each.small_share:.0f} % smaller than a hundredth of the picture",
            ),
            Row(what=f"{number}. {each.stage}: mIoU after one click", value=each.overlap, unit="%"),
        )
    ]  # fmt: skip
    person = ANNOTATOR
    method = (
        f"A model of {CONFIG.size} pixels learns from {PUBLIC} pictures with masks of whole things ({FIRST_STEPS} "
        f"updates), then from {PICTURES} more pictures a round ({STEPS} updates on all that was collected). A "
        f"simulated person has {person.budget:.0f} clicks of time for a picture: {person.finding:.0f} to find a thing, "
        f"one for each click, {person.drawing:.0f} to draw by hand after {person.patience} clicks; masks are taken "
        f"from {person.content:.2f} overlap on. mIoU: {TESTED} scenes of held-out things and their parts, one click."
    )
    return Outcome(
        name="sam_data_engine", title="Segment Anything's data engine with a simulated annotator", method=method,
        rows=tuple(rows), details={"rounds": [asdict(each) for each in rounds]},
    )  # fmt: skip
