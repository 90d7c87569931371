"""Distillation of any diffusion model into few steps: each method is a loss over states of trajectories.

A teacher and a student are `Denoiser`s on one path, so nothing here knows which network, prediction or modality it is.

    teacher = teacher_of(prior, guidance)                          # (x_t, t, cond) -> x0, guided
    student = student_denoiser(Student(prior, guidance), prior)    # starts as a copy of the teacher
    f = ConsistencyFunction(student, prior.path, LcmBoundary())    # exactly the identity on clean data, a Denoiser too
    ahead = DdimSteps()(teacher, x, t, s, prior.path, cond)        # the teacher one step further
    pair = Pair(x=x, t=t, next_x=ahead, next_t=s, end=end)         # end: where the segment ends; clean in CD and LCM
    loss = consistency_loss(f, f, pair, prior.path, cond)          # (b,)

Progressive and guided distillation are `matching_loss` against `progressive_target` and `guided_target`. Students in
segments are sampled by `Ddim` over the segments' ends, whole ones by `ConsistencySampler`.
"""

from bottega.processes.distillation.boundary import (
    Boundary,
    ConsistencyFunction,
    KarrasBoundary,
    LcmBoundary,
    PlainBoundary,
)
from bottega.processes.distillation.conditions import choose_rows, leaves, map_rows
from bottega.processes.distillation.consistency import (
    Distance,
    GrowingSteps,
    Measured,
    Pair,
    PseudoHuber,
    Squared,
    consistency_loss,
    consistency_residual,
    segment_end,
    segment_ends,
    training_pair,
)
from bottega.processes.distillation.progressive import guided_target, halvings, matching_loss, progressive_target
from bottega.processes.distillation.rewards import Brightness, Colourfulness, Reward
from bottega.processes.distillation.samplers import ConsistencySampler, LcmGrid, even_times, lcm_times, spread_times
from bottega.processes.distillation.steps import (
    DdimSteps,
    HeunSteps,
    OdeStep,
    ddim_jump,
    implied_x0,
    jump_coefficients,
    rows_like,
)
from bottega.processes.distillation.student import (
    GuidanceInput,
    GuidanceRange,
    GuidedTeacher,
    Student,
    guidance_embedding,
    student_denoiser,
    teacher_of,
)
from bottega.processes.distillation.trajectories import TrajectoryPool, Visit

__all__ = [
    "Boundary",
    "Brightness",
    "Colourfulness",
    "ConsistencyFunction",
    "ConsistencySampler",
    "DdimSteps",
    "Distance",
    "GrowingSteps",
    "GuidanceInput",
    "GuidanceRange",
    "GuidedTeacher",
    "HeunSteps",
    "KarrasBoundary",
    "LcmBoundary",
    "LcmGrid",
    "Measured",
    "OdeStep",
    "Pair",
    "PlainBoundary",
    "PseudoHuber",
    "Reward",
    "Squared",
    "Student",
    "TrajectoryPool",
    "Visit",
    "choose_rows",
    "consistency_loss",
    "consistency_residual",
    "ddim_jump",
    "even_times",
    "guidance_embedding",
    "guided_target",
    "halvings",
    "implied_x0",
    "jump_coefficients",
    "lcm_times",
    "leaves",
    "map_rows",
    "matching_loss",
    "progressive_target",
    "rows_like",
    "segment_end",
    "segment_ends",
    "spread_times",
    "student_denoiser",
    "teacher_of",
    "training_pair",
]
