"""What a student learns in one update, by method: states, the teacher's targets and the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bottega.processes.diffusion import Denoiser, corrupt, noise_like
from bottega.processes.distillation import (
    DdimSteps,
    HeunSteps,
    Measured,
    Pair,
    PseudoHuber,
    Squared,
    Visit,
    consistency_loss,
    map_rows,
    matching_loss,
    progressive_target,
    segment_ends,
    teacher_of,
    training_pair,
)
from bottega.systems.diffusion.distillation.config import (
    Consistency,
    ConsistencyTraining,
    Guided,
    LatentConsistency,
    Multistep,
    Progressive,
)
from bottega.systems.diffusion.distillation.model import Distillation


@dataclass(frozen=True, kw_only=True, slots=True)
class Matching:
    """States at which the student's clean samples must equal given ones.

    Args:
        x: `(b, ...)`.
        t: `(b,)`.
        target: Clean samples.
        cond: As the student takes it.
    """

    x: Tensor
    t: Tensor
    target: Tensor
    cond: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreeing:
    """Pairs of states that must lead the student to one end.

    Args:
        pair: The states.
        cond: As the student takes it.
    """

    pair: Pair
    cond: Any


def matching_task(
    model: Distillation, earlier: nn.Module | None, steps: int, x0: Tensor, asked: Any, generator: torch.Generator
) -> Matching:
    """States of noised data with the targets of one round of progressive or guided distillation.

    Args:
        model: The student with its teacher.
        earlier: The student of the round before, which now teaches; None in the first round.
        steps: The student's steps in this round; 0 to match the teacher's guidance at any time.
        x0: Clean states.
        asked: Their conditions, as the student takes them.
        generator: Source of times and noise.
    """
    teaches = teacher_of(model.teacher, model.config.guidance) if earlier is None else model.function(earlier)
    path = model.path
    if steps == 0:
        t = path.training_time(torch.rand(len(x0), generator=generator, device=generator.device)).to(x0.device)
        x = corrupt(x0, t, noise_like(x0, generator), path)
        with torch.no_grad():
            return Matching(x=x, t=t, target=teaches(x, t, asked), cond=asked)
    times = torch.tensor(model.times(steps), dtype=torch.float64, device=x0.device)
    place = torch.randint(steps, (len(x0),), generator=generator, device=generator.device).to(x0.device)
    t, end = times[place], times[place + 1]
    x = corrupt(x0, t, noise_like(x0, generator), path)
    return Matching(x=x, t=t, target=progressive_target(teaches, x, t, end, path, asked), cond=asked)


def consistency_task(model: Distillation, x0: Tensor, asked: Any, generator: torch.Generator) -> Agreeing:
    """States of noised data with those that the teacher reaches in one step: CD and LCM."""
    method, path = model.config.method, model.path
    times = torch.tensor(model.grid(method.teacher_steps), dtype=torch.float64, device=x0.device)
    place = torch.randint(len(times) - 1, (len(x0),), generator=generator, device=generator.device).to(x0.device)
    t, s = times[place], times[place + 1]
    x = corrupt(x0, t, noise_like(x0, generator), path)
    step = HeunSteps() if isinstance(method, Consistency) and method.second_order else DdimSteps()
    with torch.no_grad():
        ahead = step(teacher_of(model.teacher, model.config.guidance), x, t, s, path, asked)
    clean = torch.full_like(t, path.t_clean)
    return Agreeing(pair=Pair(x=x, t=t, next_x=ahead, next_t=s, end=clean), cond=asked)


def training_task(model: Distillation, steps: int, x0: Tensor, asked: Any, generator: torch.Generator) -> Agreeing:
    """Two states of the same noise and data: consistency training on a grid of so many steps."""
    times = torch.tensor(model.grid(steps), dtype=torch.float64, device=x0.device)
    place = torch.randint(steps, (len(x0),), generator=generator, device=generator.device).to(x0.device)
    noise = noise_like(x0, generator)
    return Agreeing(pair=training_pair(x0, noise, times[place], times[place + 1], model.path), cond=asked)


def segment_task(model: Distillation, visit: Visit, segments: int) -> Agreeing:
    """States on the teacher's own trajectories, the same one step further, and the ends of their segments: MLCM."""
    path, grid = model.path, model.grid(model.config.method.teacher_steps)
    times, ends = (torch.tensor(part, dtype=torch.float64, device=visit.x.device)
                   for part in (grid, segment_ends(grid, segments)))  # fmt: skip
    t, s = times[visit.place], times[visit.place + 1]
    asked = model.student.asked(visit.cond, visit.scale)
    with torch.no_grad():
        ahead = DdimSteps()(teacher_of(model.teacher, model.config.guidance), visit.x, t, s, path, asked)
    return Agreeing(pair=Pair(x=visit.x, t=t, next_x=ahead, next_t=s, end=ends[visit.place]), cond=asked)


def whole_segment_task(model: Distillation, visit: Visit, segments: int) -> tuple[Agreeing, Tensor]:
    """As `segment_task`, with the teacher at the end of each segment, and all its states on the way.

    Returns:
        The states, a multiple of the visit's rows, and how many steps each row has taken now.
    """
    path, steps = model.path, model.config.method.teacher_steps
    times = torch.tensor(model.grid(steps), dtype=torch.float64, device=visit.x.device)
    size = steps // segments
    last = (visit.place // size + 1) * size
    teacher, asked = teacher_of(model.teacher, model.config.guidance), model.student.asked(visit.cond, visit.scale)
    x, states, started = visit.x, [], []
    for step in range(size):  # rows in the middle of a segment come to its end sooner, and stay there
        t, s = (times[torch.minimum(visit.place + taken, last)] for taken in (step, step + 1))
        states.append(x)
        started.append(t)
        with torch.no_grad():
            x = DdimSteps()(teacher, x, t, s, path, asked)
    end = times[last].repeat(size)
    cond = map_rows(lambda leaf: leaf.repeat(size, *[1] * (leaf.ndim - 1)), asked)
    ahead = x.repeat(size, *[1] * (x.ndim - 1))
    pair = Pair(x=torch.cat(states), t=torch.cat(started), next_x=ahead, next_t=end, end=end)
    return Agreeing(pair=pair, cond=cond), last


def matching(model: Distillation, task: Matching) -> Tensor:
    """The mean loss of progressive and guided distillation."""
    method = model.config.method
    if not isinstance(method, Progressive | Guided):
        raise TypeError(f"{type(method).__name__} matches no targets")
    student: Denoiser = model.function(model.student)
    losses = matching_loss(student, task.target, task.x, task.t, task.cond, path=model.path, weighting=method.weighting)
    return losses.mean()


def agreeing(model: Distillation, target: nn.Module, task: Agreeing) -> dict[str, Tensor]:
    """The mean loss of the consistency methods, and what there is of a reward.

    Args:
        model: The student with its teacher.
        target: The network that says where the further states lead: the student's average.
        task: The states.
    """
    method, pair = model.config.method, task.pair
    student = model.function(model.student)
    measured = method.measured if isinstance(method, Multistep) else Measured.STATE
    losses = consistency_loss(
        student, model.function(target), pair, model.path, task.cond, distance=_distance(model), measured=measured
    )
    if not isinstance(method, Multistep) or method.reward is None:
        return {"loss": losses.mean()}
    pictures = model.teacher.to_pictures(student(pair.x, pair.t, task.cond))
    reward = method.reward(pictures.clamp(-1, 1)).mean()
    return {"loss": losses.mean() - method.reward_weight * reward, "reward": reward}


def _distance(model: Distillation) -> Squared | PseudoHuber:
    match model.config.method:
        case Consistency() | ConsistencyTraining() | LatentConsistency() | Multistep() as method:
            return method.distance
    raise TypeError(f"{type(model.config.method).__name__} compares no ends")
