"""Measuring a student: how near its pictures are to its teacher's, and to real ones, at 1, 2, 4 and 8 steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bottega.data import pictures_to_tensor
from bottega.metrics import PixelFeatures, frechet_distance
from bottega.processes.diffusion import Ddim, UniformGrid, no_report
from bottega.processes.distillation import teacher_of
from bottega.room import Measure, Progress, Report
from bottega.systems.diffusion.distillation.inference import draw
from bottega.systems.diffusion.distillation.model import Distillation, strengths
from bottega.training import draw_generators
from bottega.worlds import EmojiWorld

STEPS, TEACHER_STEPS, BATCH = (1, 2, 4, 8), 50, 32
FEATURES = PixelFeatures()


@torch.inference_mode()
def evaluate(model: Distillation, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Distances of the student's pictures, of DDIM's with as many steps (the baseline), and of shuffled ones.

    The teacher's pictures are those of 50 DDIM steps from the same noise under the same words. "RMSE" is the root mean
    squared difference to them in [-1, 1]; its control takes the student's pictures of other words and noise.

    Args:
        model: The student with its teacher.
        seed: Picks words and noise.
        limit: Most pictures to draw.
        report: Called after every batch.
    """
    world, count = EmojiWorld(split="train", scenes=0.0, seed=seed), max(limit, 2)
    samples = [world.sample(index) for index in range(count)]
    words = [model.teacher.input_of(sample) for sample in samples]
    real = _real(model, seed, count)
    parts = [words[i : i + BATCH] for i in range(0, count, BATCH)]
    total = len(parts) * (1 + 2 * len(STEPS))
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        report(Progress(step=done, total=total, stage="draw"))

    def drawn(steps: int, teacher: bool) -> Tensor:
        made = []
        for number, part in enumerate(parts):
            made.append((_teachers if teacher else _students)(model, part, steps, seed + number))
            tell()
        return torch.cat(made)

    reference = drawn(TEACHER_STEPS, teacher=True)
    features = FEATURES.features(real)
    name = f"Fréchet distance ({FEATURES.name})"
    best = frechet_distance(FEATURES.features(reference), features)
    found = {f"{name}, teacher of {TEACHER_STEPS} steps": _lower(best, count)}
    order = torch.from_numpy(np.roll(np.arange(count), 1))
    for steps in STEPS:
        mine, plain = drawn(steps, teacher=False), drawn(steps, teacher=True)
        found[f"RMSE to the teacher, {_named(steps)}"] = _lower(
            _rmse(mine, reference), count, baseline=_rmse(plain, reference), control=_rmse(mine[order], reference)
        )
        found[f"{name}, {_named(steps)}"] = _lower(
            frechet_distance(FEATURES.features(mine), features), count,
            baseline=frechet_distance(FEATURES.features(plain), features),
        )  # fmt: skip
    passes = TEACHER_STEPS * (1 if model.config.guidance.low == model.config.guidance.high == 1.0 else 2)
    found["calls of the network saved"] = Measure(value=passes / model.config.steps, baseline=1.0, samples=count)
    return found


def _named(steps: int) -> str:
    return "1 step" if steps == 1 else f"{steps} steps"


def _lower(value: float, count: int, baseline: float | None = None, control: float | None = None) -> Measure:
    return Measure(value=value, baseline=baseline, control=control, higher_is_better=False, samples=count)


def _real(model: Distillation, seed: int, count: int) -> Tensor:
    """Real pictures, others than those whose words are drawn."""
    world = EmojiWorld(split="train", scenes=0.0, size=model.teacher.size, seed=seed + 1)
    tiles = np.stack([world.sample(index).picture for index in range(count)])
    return pictures_to_tensor(tiles)


def _students(model: Distillation, words: Sequence[str], steps: int, seed: int) -> Tensor:
    states = draw(model, words, strengths(model, None, len(words)), steps=steps, seed=seed, report=no_report)
    return _pictures(model, states)


def _teachers(model: Distillation, words: Sequence[str], steps: int, seed: int) -> Tensor:
    """The teacher's pictures by DDIM from the noise that the student starts from."""
    teacher, times = model.teacher, UniformGrid(steps)(model.path)
    start = teacher.start(draw_generators(seed, len(words)), times[0])
    cond = model.student.asked(model.conditions(words), strengths(model, None, len(words)))
    return _pictures(model, Ddim()(teacher_of(teacher, model.config.guidance), start, times, model.path, cond=cond))


def _pictures(model: Distillation, states: Tensor) -> Tensor:
    return model.teacher.to_pictures(states).clamp(-1, 1).float().cpu()


def _rmse(a: Tensor, b: Tensor) -> float:
    return (a - b).square().mean().sqrt().item()
