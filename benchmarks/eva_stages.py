"""EVA's claim: masked pre-training on CLIP's features beside pixels, beside none, and what EVA-CLIP gains by each."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from pathlib import Path

import torch

from benchmarks.measure import Outcome, Row
from bottega.room import Stage, silent
from bottega.systems.vision.eva.config import PRESETS, EvaOptions, Target, configure
from bottega.systems.vision.eva.evaluation import (
    held_out_tones,
    masked_figures,
    naming,
    probe_accuracy,
    scenes,
    tower_features,
)
from bottega.systems.vision.eva.model import EvaRoom
from bottega.systems.vision.eva.recipe import STAGES
from bottega.training import fit
from bottega.weights import load_into
from bottega.worlds.emoji import EmojiPlacesWorld

STEPS, LIMIT, SEED = 300, 512, 0
TEACHER_STEPS = 469
BY_NAME = {stage.name: stage for stage in STAGES}
WAYS = {"from scratch": None, "after pixels": Target.PIXELS, "after the teacher's features": Target.FEATURES}


def run(steps: int = STEPS) -> Outcome:
    """One teacher; masked pre-training in two ways and in none; contrastive training from each, in as many updates."""
    torch.manual_seed(SEED)
    first = EvaRoom(PRESETS["tiny"].config)
    train(first, BY_NAME["teacher"], TEACHER_STEPS)
    rows = []
    for name, target in WAYS.items():
        room = started(first, target)
        if target is not None:
            train(room, BY_NAME["masked"], steps)
        rows += tower_rows(name, room)
        if target is Target.FEATURES:
            figure = masked_figures(room, SEED, LIMIT)["cosine of hidden patches"]
            note = f"the mean feature reaches {figure.baseline:.3f}, another picture's {figure.control:.3f}"
            rows.append(Row(what="cosine of hidden patches with the teacher's", value=figure.value, unit="", note=note))
        train(room, BY_NAME["clip"], steps)
        rows += tower_rows(f"EVA-CLIP {name}", room) + clip_rows(f"EVA-CLIP {name}", room)
    method = (
        f"The tiny size, seed {SEED}: a teacher of {TEACHER_STEPS} updates, then {steps} updates of masked "
        f"pre-training and {steps} of contrastive training in each way. Pictures: {LIMIT} of each kind, in places and "
        "combinations that training lacked; a probe is asked about identities that it was not fitted on."
    )
    return Outcome(name="eva_stages", title="EVA's initialisation", method=method, rows=tuple(rows))


def started(first: EvaRoom, target: Target | None) -> EvaRoom:
    """A room with a fresh tower beside the trained teacher and texts of `first`."""
    torch.manual_seed(SEED)
    room = EvaRoom(configure(first.config, EvaOptions(target=target)))
    for name in ("teacher", "clip"):
        load_into(getattr(room, name), copy.deepcopy(getattr(first, name).state_dict()), source=name)
    room.attach(first.assets())
    return room


def train(room: EvaRoom, stage: Stage, steps: int) -> None:
    """A stage in so many updates."""
    settings = dataclasses.replace(stage.settings, steps=steps, save_every=0, seed=SEED)
    with tempfile.TemporaryDirectory() as folder:
        recipe = stage.recipe(room, EmojiPlacesWorld())
        result = fit(recipe, settings, Path(folder))
        load_into(recipe.model, result.weights(), source=stage.name)


def tower_rows(name: str, room: EvaRoom) -> list[Row]:
    """What a linear map of the tower's features tells."""
    value, control = probe_accuracy(tower_features(room.eval().tower), SEED, LIMIT)
    return [Row(what=f"{name}: linear probe", value=value, unit="%", note=f"answers exchanged: {control:.1f}")]


def clip_rows(name: str, room: EvaRoom) -> list[Row]:
    """What is told without fitting."""
    with torch.inference_mode():
        found = {
            **naming(room, SEED, LIMIT, silent),
            **held_out_tones(room, LIMIT, silent),
            **scenes(room, SEED, LIMIT, silent),
        }
    return [
        Row(what=f"{name}: {what}", value=figure.value, unit="%", note=f"pictures exchanged: {figure.control:.1f}")
        for what, figure in found.items()
    ]
