"""Diffusion and flow matching as five independent values: path, prediction, weighting, guidance, solver.

The one contract between them is `Denoiser: (x_t, t, cond) -> x0`. Whatever denoises can be sampled by every solver and
guided by every guidance, whatever the modality.

    path = DiscreteVp.scaled_linear()                                       # how noise grows
    loss = diffusion_loss(network, x0, cond, path=path, prediction=V(),     # (b,), what the network predicts,
                          weighting=MinSnr(), times=UniformTimes(), generator=generator)   # what counts, how often
    denoiser = Denoised(network, path, V())                                 # the network as (x_t, t, cond) -> x0
    guided = ClassifierFree(scale=7.5, null_cond=null)(denoiser)            # guidance wraps a denoiser
    times = TrailingGrid(25)(path)                                          # where to stop on the way
    noise = initial_noise((4, 4, 32, 32), times[0], path, generator=generator)
    sample = DpmSolverPp2m()(guided, noise, times, path, cond=cond)         # any solver, any path

A time is a Python float when the whole batch shares it (solvers) or a tensor `(b,)` (training). Coefficients are
computed in double; states are float32 or wider, whatever dtype the network runs in.
"""

from bottega.processes.diffusion.classify import (
    LabelErrors,
    Round,
    elimination,
    label_errors,
    select_rows,
    total_calls,
)
from bottega.processes.diffusion.grids import (
    EdmGrid,
    Grid,
    LeadingGrid,
    LinspaceGrid,
    LogSnrGrid,
    TrailingGrid,
    UniformGrid,
)
from bottega.processes.diffusion.guidance import ClassifierFree, Clipped, Guidance, IntervalGuidance, repeat_rows
from bottega.processes.diffusion.learned_range import DenoisedRange, RangedDdpm, range_loss
from bottega.processes.diffusion.mixtures import ExactDenoiser, GaussianMixture
from bottega.processes.diffusion.objective import corrupt, denoising_loss, diffusion_loss, noise_like
from bottega.processes.diffusion.pareto import gradient_cosines, gradient_gram, min_norm_weights
from bottega.processes.diffusion.paths import CosineVp, DiscreteVp, Edm, Path, RectifiedFlow, VariancePreserving, Vp
from bottega.processes.diffusion.power_cosine import PowerCosine
from bottega.processes.diffusion.predictions import (
    X0,
    Denoised,
    Denoiser,
    EdmPreconditioned,
    Epsilon,
    Network,
    Prediction,
    Score,
    Time,
    V,
    Velocity,
)
from bottega.processes.diffusion.prior import Prior
from bottega.processes.diffusion.solvers import (
    Churn,
    ChurnedStep,
    Ddim,
    DdimInversion,
    Ddpm,
    DpmSolverPp2m,
    Euler,
    Heun,
    HeunStep,
    LinearStep,
    Solver,
    Step,
    StepReport,
    initial_noise,
    no_report,
)
from bottega.processes.diffusion.transfer import Transfer, TransferPlan, transfer_matrix
from bottega.processes.diffusion.weighting import (
    P2,
    EdmTimes,
    EdmWeighting,
    EvenIn,
    InverseSnr,
    LogitNormalTimes,
    MinSnr,
    SoftMinSnr,
    TimeSampler,
    TruncatedSnr,
    Uniform,
    UniformTimes,
    Weighting,
)

__all__ = [
    "LabelErrors",
    "Round",
    "elimination",
    "label_errors",
    "select_rows",
    "total_calls",
    "DenoisedRange",
    "RangedDdpm",
    "range_loss",
    "PowerCosine",
    "P2",
    "V",
    "X0",
    "Churn",
    "ChurnedStep",
    "ClassifierFree",
    "Clipped",
    "CosineVp",
    "Ddim",
    "DdimInversion",
    "Ddpm",
    "Denoised",
    "Denoiser",
    "DiscreteVp",
    "DpmSolverPp2m",
    "Edm",
    "EdmGrid",
    "EdmPreconditioned",
    "EdmTimes",
    "EdmWeighting",
    "Epsilon",
    "Euler",
    "EvenIn",
    "ExactDenoiser",
    "GaussianMixture",
    "Grid",
    "Guidance",
    "Heun",
    "HeunStep",
    "IntervalGuidance",
    "InverseSnr",
    "LeadingGrid",
    "LinearStep",
    "LinspaceGrid",
    "LogSnrGrid",
    "LogitNormalTimes",
    "MinSnr",
    "Network",
    "Path",
    "Prediction",
    "Prior",
    "RectifiedFlow",
    "Score",
    "SoftMinSnr",
    "Solver",
    "Step",
    "StepReport",
    "Time",
    "TimeSampler",
    "TrailingGrid",
    "Transfer",
    "TransferPlan",
    "TruncatedSnr",
    "Uniform",
    "UniformGrid",
    "UniformTimes",
    "VariancePreserving",
    "Velocity",
    "Vp",
    "Weighting",
    "corrupt",
    "denoising_loss",
    "diffusion_loss",
    "gradient_cosines",
    "gradient_gram",
    "initial_noise",
    "min_norm_weights",
    "no_report",
    "noise_like",
    "repeat_rows",
    "transfer_matrix",
]
