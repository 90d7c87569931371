"""How a student learns: one stage, whose rounds follow each other inside it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bottega.data import CaptionedPicture, Crop, Source, fit_picture, pictures_to_tensor, tensor_to_pictures
from bottega.errors import RequestError
from bottega.processes.diffusion import no_report, noise_like, repeat_rows
from bottega.processes.distillation import TrajectoryPool, choose_rows, map_rows
from bottega.room import Stage
from bottega.systems.diffusion.distillation.config import (
    Ahead,
    Consistency,
    ConsistencyTraining,
    Guided,
    LatentConsistency,
    Multistep,
    Progressive,
)
from bottega.systems.diffusion.distillation.inference import draw
from bottega.systems.diffusion.distillation.model import Distillation, as_student_of, strengths
from bottega.systems.diffusion.distillation.objective import (
    Agreeing,
    Matching,
    agreeing,
    consistency_task,
    matching,
    matching_task,
    segment_task,
    training_task,
    whole_segment_task,
)
from bottega.training import Cosine, FitSettings, Optimizer, Precision, TrainState, autocast, decay_groups, descend
from bottega.worlds import Sample

Pictures = Source[CaptionedPicture | Sample]
"""A world, or a folder of the user's."""


@dataclass(frozen=True, slots=True)
class DistillationBatch:
    """What an update is about.

    Args:
        pictures: `(batch, 3, size, size)` in [-1, 1]; None for methods without data.
        cond: The teacher's conditions, one row each.
        count: How many samples.
    """

    pictures: Tensor | None
    cond: Any
    count: int


class Lesson(nn.Module):
    """Everything that changes while a student learns.

    Args:
        model: The student with its teacher.
        pool: Trajectories of the teacher, for the method without data.
    """

    def __init__(self, model: Distillation, pool: TrajectoryPool | None) -> None:
        super().__init__()
        self.student = model.student
        self.other = copy.deepcopy(model.student).requires_grad_(False)
        """The target that follows the student, or the student of the round before."""
        self.pool = pool


class DistillationRecipe:
    """The one stage. Every round takes an equal share of the updates.

    Args:
        distillation: The student with its teacher.
        source: Pictures with words; MLCM uses the words alone.
        leave_out: Share of samples without words.
    """

    def __init__(self, distillation: Distillation, source: Pictures, *, leave_out: float = 0.1) -> None:
        self.distillation, self.source, self.leave_out = distillation, source, leave_out
        self.method = distillation.config.method
        if distillation.teacher.null_cond is None:
            self.leave_out = 0.0
        self.model = Lesson(distillation, self._pool())

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> DistillationBatch:
        """Words, and pictures where the method needs them."""
        teacher, samples = self.distillation.teacher, [self.source.sample(index) for index in indices]
        words = [teacher.input_of(sample) for sample in samples]
        with torch.no_grad():
            cond = self.distillation.conditions(words)
        if self.leave_out > 0:
            silent = (torch.rand(len(samples), generator=generator) < self.leave_out).to(teacher.like.device)
            cond = choose_rows(silent, repeat_rows(teacher.null_cond, len(samples)), cond)
        if isinstance(self.method, Multistep):
            return DistillationBatch(None, cond, len(words))
        squares = [fit_picture(sample.picture, teacher.size, how=Crop()) for sample in samples]
        pictures = pictures_to_tensor(np.stack(squares))
        return DistillationBatch(pictures, cond, len(words))

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay, vectors and positions without."""
        return decay_groups(self.model, settings, lambda name, _: name.endswith(("pos_embed", "patterns")))

    def compiled_parts(self) -> Sequence[nn.Module]:
        """The student, what follows it, and the teacher."""
        return [self.model.student, self.model.other, self.distillation.teacher.network]

    def step(self, state: TrainState, batch: DistillationBatch) -> Mapping[str, float | Tensor]:
        """One update."""
        rounds, updates = self.distillation.config.rounds, state.settings.steps
        number = state.step * len(rounds) // updates
        with torch.no_grad(), autocast(state):
            task = self._task(state, batch, rounds, number)
        if isinstance(task, Matching):
            return descend(state, task, lambda part: matching(self.distillation, part))
        made = descend(state, task, lambda part: agreeing(self.distillation, self.model.other, part))
        if not (isinstance(self.method, Multistep) and self.method.ahead is Ahead.SEGMENT):
            self._follow(self._decay(state.step, updates))
        return made

    def preview(self, state: TrainState) -> Mapping[str, np.ndarray]:
        """Eight pictures of what the source shows first."""
        teacher, config = self.distillation.teacher, self.distillation.config
        words = [teacher.input_of(self.source.sample(index)) for index in range(min(8, len(self.source)))]
        with torch.inference_mode():
            scale = strengths(self.distillation, None, len(words))
            states = draw(self.distillation, words, scale, steps=config.steps, seed=0, report=no_report)
            return {"draws": np.concatenate(list(tensor_to_pictures(teacher.to_pictures(states))), axis=1)}

    def _task(
        self, state: TrainState, batch: DistillationBatch, rounds: tuple[int, ...], number: int
    ) -> Matching | Agreeing:
        distillation, generator = self.distillation, state.generator
        scale = distillation.config.guidance.draw(batch.count, generator).to(state.device)
        if self.model.pool is not None:
            return self._visit(self.model.pool, state, batch.cond, scale, rounds[number])
        if batch.pictures is None:
            raise TypeError(f"{type(self.method).__name__} learns from pictures, and this batch has none")
        x0 = distillation.teacher.from_pictures(batch.pictures)
        asked = distillation.student.asked(batch.cond, scale)
        match self.method:
            case Progressive() | Guided():
                if number > 0 and state.step == -(-number * state.settings.steps // len(rounds)):
                    self._follow(0.0)  # a round begins: the student of the last one teaches
                earlier = self.model.other if number > 0 else None
                return matching_task(distillation, earlier, rounds[number], x0, asked, generator)
            case ConsistencyTraining(growth=growth):
                steps = growth.steps(state.step, state.settings.steps)
                return training_task(distillation, steps, x0, asked, generator)
        return consistency_task(distillation, x0, asked, generator)

    def _visit(self, pool: TrajectoryPool, state: TrainState, cond: Any, scale: Tensor, segments: int) -> Agreeing:
        """One step further on some of the trajectories; new ones take the batch's words."""
        if len(scale) > len(pool.state):
            allowed = f"at most {len(pool.state)}, the number of trajectories"
            raise RequestError.of("batch_size", len(scale), allowed)
        if isinstance(self.method, Multistep) and self.method.ahead is Ahead.SEGMENT:
            rows = max(len(scale) * segments // self.method.teacher_steps, 1)
            visit = pool.visit(state.step, rows)
            task, place = whole_segment_task(self.distillation, visit, segments)
            cond, scale = map_rows(lambda leaf: leaf[:rows], cond), scale[:rows]
        else:
            visit = pool.visit(state.step, len(scale))
            task, place = segment_task(self.distillation, visit, segments), visit.place + 1
        noise = noise_like(visit.x, state.generator) * self._first_sigma()
        pool.move(visit, task.pair.next_x[: len(visit.x)], place, noise, cond, scale)
        return task

    def _pool(self) -> TrajectoryPool | None:
        if not isinstance(self.method, Multistep):
            return None
        teacher, count = self.distillation.teacher, self.method.trajectories
        generator = torch.Generator().manual_seed(0)
        words = [teacher.input_of(self.source.sample(index % len(self.source))) for index in range(count)]
        with torch.no_grad():
            cond = self.distillation.conditions(words)
        noise = torch.randn((count, *teacher.shape), generator=generator) * self._first_sigma()
        scale = self.distillation.config.guidance.draw(count, generator)
        like = teacher.like
        return TrajectoryPool(noise.to(like), cond, scale.to(like.device), self.method.teacher_steps)

    def _first_sigma(self) -> float:
        path = self.distillation.path
        return path.sigma(path.t_max)

    def _decay(self, step: int, updates: int) -> float:
        match self.method:
            case Consistency() | LatentConsistency() | Multistep() as method:
                return method.target_decay
            case ConsistencyTraining(growth=growth):
                return growth.decay_at(step, updates)
        raise TypeError(f"{type(self.method).__name__} has no target that follows")

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        """Moves the other network towards the student; decay 0 makes it equal."""
        for mine, theirs in zip(self.model.other.parameters(), self.model.student.parameters(), strict=True):
            mine.lerp_(theirs, 1.0 - decay)


def distillation_recipe(model: nn.Module, source: Pictures) -> DistillationRecipe:
    """The recipe of a student."""
    return DistillationRecipe(as_student_of(model), source)


STAGES = (
    Stage(
        name="distill",
        recipe=distillation_recipe,
        settings=FitSettings(
            steps=1500, batch_size=64, learning_rate=3e-4, warmup_steps=30, schedule=Cosine(final=0.05),
            weight_decay=0.0, betas=(0.9, 0.99), precision=Precision.BF16, ema_decay=0.99, preview_every=500,
            compile=True, optimizer=Optimizer.MUON,
        ),
        finetune=True,
    ),
)  # fmt: skip
