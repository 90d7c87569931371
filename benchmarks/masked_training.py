"""The paper's claim: DiT, MDT and MDTv2 of the tiny size at equal compute, and how soon each is as good as DiT."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Outcome, Row
from bottega.processes.diffusion import Uniform
from bottega.systems.diffusion.mdt.config import PRESETS
from bottega.systems.diffusion.mdt.evaluation import FACES, part_consistency
from bottega.systems.diffusion.mdt.inference import MdtRequest, draw
from bottega.systems.diffusion.mdt.model import MdtPipeline
from bottega.systems.diffusion.mdt.objective import mdt_losses
from bottega.systems.diffusion.mdt.recipe import STAGES, MdtBatch, MdtRecipe
from bottega.training import Constant, FitSettings, TrainState, fit
from bottega.worlds import EmojiWorld

STEPS, BATCH, SEED, TESTS, DRAWS, LOOKS = 600, 32, 0, 256, 64, 6
DESIGNS = {"DiT": "tiny-dit", "MDT": "tiny-mdt", "MDTv2": "tiny"}
SCORE = "part consistency: two eyes"


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """What a network reaches after so much compute."""

    flops: float
    error: float
    score: float


class Watched:
    """A recipe that measures the averaged network instead of drawing previews."""

    def __init__(self, recipe: MdtRecipe, flops: float) -> None:
        self.recipe, self.model, self.flops = recipe, recipe.model, flops
        self.looks: list[Look] = []
        held_out = MdtRecipe(recipe.pipeline, EmojiWorld(split="heldout", scenes=0.0, size=32, seed=1), leave_out=0.0)
        self.test = held_out.batch(range(TESTS), torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.recipe)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MdtBatch:
        """The recipe's."""
        return self.recipe.batch(indices, generator)

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """The recipe's."""
        return self.recipe.parameter_groups(settings)

    def step(self, state: TrainState, batch: MdtBatch) -> Mapping[str, float | Tensor]:
        """The recipe's."""
        return self.recipe.step(state, batch)

    def preview(self, state: TrainState) -> Mapping[str, np.ndarray]:
        """No picture, but a look."""
        generator = torch.Generator().manual_seed(2)
        found = mdt_losses(self.model, self.test.pictures, self.test.labels, generator, Uniform())
        names = self.recipe.pipeline.config.class_names
        labels = [names.index(FACES[i % len(FACES)]) for i in range(DRAWS)]
        faces = draw(self.recipe.pipeline, labels, MdtRequest(), lambda *_: None).clamp(-1, 1)
        score = part_consistency(faces, np.random.default_rng(SEED))[SCORE].value
        self.looks.append(Look(state.step * self.flops, float(found["noise"]), score))
        return {}


def run(steps: int = STEPS) -> Outcome:
    """Trains all three on the same stream of batches; DiT for `steps`, the others for as many FLOPs."""
    costs = {name: step_flops(preset) for name, preset in DESIGNS.items()}
    budget = steps * costs["DiT"]
    looks = {name: _trained(preset, costs[name], budget) for name, preset in DESIGNS.items()}
    target = looks["DiT"][-1].error
    rows = []
    for name, seen in looks.items():
        reached = compute_to(seen, target)
        saved = None if reached is None else budget / reached
        rows.append(
            Row(
                what=f"{name}: held-out error of the noise", value=seen[-1].error, unit="", peer=target, ratio=saved,
                note="DiT's compute over its own to DiT's error" if saved else "not reached",
            )
        )  # fmt: skip
        rows.append(Row(what=f"{name}: faces with two eyes", value=seen[-1].score, unit="%"))
    counts = ", ".join(f"{name} {int(budget / cost)}" for name, cost in costs.items())
    method = (
        f"Tiny sizes at 32 pixels, {budget / 1e12:.1f} TFLOP each (updates of {BATCH} pictures: {counts}), seed "
        f"{SEED}, constant rate. The error is that of the noise on {TESTS} held-out pictures with equal times and "
        f"noise; the score counts {DRAWS} drawn faces. The paper claims 3 times fewer steps for MDT and 10 for MDTv2."
    )
    details = {name: [dataclasses.asdict(look) for look in seen] for name, seen in looks.items()}
    return Outcome(
        name="masked_training", title="DiT, MDT and MDTv2 at equal compute", method=method, rows=tuple(rows),
        details=details,
    )  # fmt: skip


def step_flops(preset: str) -> float:
    """Multiplications and additions of an update, forward and backward."""
    torch.manual_seed(SEED)
    pipeline = MdtPipeline(PRESETS[preset].config)
    pictures, labels = torch.zeros(BATCH, 3, 32, 32), torch.zeros(BATCH, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        mdt_losses(pipeline.network, pictures, labels, torch.Generator().manual_seed(0), Uniform())["loss"].backward()
    return float(counter.get_total_flops())


def compute_to(looks: Sequence[Look], target: float) -> float | None:
    """The compute at which the error first falls to a target, between two looks by a straight line; None if never."""
    before: Look | None = None
    for look in looks:
        if look.error <= target:
            if before is None:
                return look.flops
            share = (before.error - target) / (before.error - look.error)
            return before.flops + share * (look.flops - before.flops)
        before = look
    return None


def _trained(preset: str, cost: float, budget: float) -> list[Look]:
    torch.manual_seed(SEED)
    pipeline = MdtPipeline(PRESETS[preset].config)
    watched = Watched(MdtRecipe(pipeline, EmojiWorld(scenes=0.0, size=32)), cost)
    steps = max(1, int(budget / cost))
    settings = dataclasses.replace(
        STAGES[0].settings, steps=steps, batch_size=BATCH, schedule=Constant(), save_every=0, seed=SEED,
        preview_every=max(1, steps // LOOKS),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        fit(watched, settings, Path(folder))
    return watched.looks
