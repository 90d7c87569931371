"""How score SDE models draw and judge: samplers by name, likelihoods, and the model as a prior."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bottega.processes.diffusion import (
    AdaptiveOde,
    AnnealedCorrector,
    Ddim,
    Ddpm,
    Dopri5,
    DpmSolverPp2m,
    Epsilon,
    EulerMaruyama,
    FlowLikelihood,
    Heun,
    Hutchinson,
    LangevinCorrector,
    PredictorCorrector,
    Prior,
    ReverseDiffusion,
    Solver,
    StepReport,
    SubVp,
    UniformGrid,
    VeGeometric,
    log_likelihood,
    no_report,
)
from bottega.systems.diffusion.score_sde.model import ScoreSde
from bottega.systems.diffusion.score_sde.objective import denoiser


class Sampler(enum.Enum):
    """How to get from noise to pictures."""

    REVERSE_DIFFUSION = "reverse-diffusion"
    """The forward steps undone one by one."""
    EULER_MARUYAMA = "euler-maruyama"
    """Euler-Maruyama steps of the reverse-time SDE."""
    ANCESTRAL = "ancestral"
    """DDPM's sampling, or its like for the VE SDE."""
    ODE = "ode"
    """The probability-flow ODE by adaptive Runge-Kutta 4(5)."""
    HEUN = "heun"
    """The same ODE by Heun's method, two calls a step."""
    DDIM = "ddim"
    """The same ODE by first-order steps."""
    DPM = "dpm"
    """The same ODE by DPM-Solver++ (2M)."""

    @property
    def label(self) -> str:
        """As the field writes it."""
        return _SAMPLER_LABELS[self]


_SAMPLER_LABELS = {
    Sampler.REVERSE_DIFFUSION: "Reverse diffusion",
    Sampler.EULER_MARUYAMA: "Euler-Maruyama",
    Sampler.ANCESTRAL: "Ancestral",
    Sampler.ODE: "ODE",
    Sampler.HEUN: "Heun",
    Sampler.DDIM: "DDIM",
    Sampler.DPM: "DPM-Solver++ 2M",
}


class Corrected(enum.Enum):
    """Langevin steps at each time before the sampler goes on."""

    NONE = "none"
    """None: the predictor alone."""
    LANGEVIN = "langevin"
    """One step with the paper's signal-to-noise rule."""
    ANNEALED = "annealed"
    """One step of annealed Langevin dynamics' size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How to draw.

    Args:
        sampler: The predictor.
        corrector: What corrects before each of its steps.
        steps: Steps from noise to data; the adaptive ODE takes as many as its tolerance asks for.
        snr: The corrector's ratio; None is the size's.
        tolerance: Of the adaptive ODE, relative and absolute.
    """

    sampler: Sampler
    corrector: Corrected
    steps: int
    snr: float | None = None
    tolerance: float = 1e-3

    @property
    def stops(self) -> int:
        """Steps of the grid."""
        return 1 if self.sampler is Sampler.ODE else self.steps

    def solver(self, model: ScoreSde) -> Solver:
        """The solver for a model."""
        ancestral = Ddpm(large_variance=not isinstance(model.config.sde, VeGeometric | SubVp))
        predictors: dict[Sampler, Solver] = {
            Sampler.REVERSE_DIFFUSION: ReverseDiffusion(),
            Sampler.EULER_MARUYAMA: EulerMaruyama(),
            Sampler.ANCESTRAL: ancestral,
            Sampler.ODE: AdaptiveOde(method=Dopri5(rtol=self.tolerance, atol=self.tolerance)),
            Sampler.HEUN: Heun(),
            Sampler.DDIM: Ddim(),
            Sampler.DPM: DpmSolverPp2m(),
        }
        predictor, snr = predictors[self.sampler], self.snr or model.config.snr
        match self.corrector:
            case Corrected.LANGEVIN:
                return PredictorCorrector(predictor=predictor, corrector=LangevinCorrector(snr=snr, pooled=False))
            case Corrected.ANNEALED:
                return PredictorCorrector(predictor=predictor, corrector=AnnealedCorrector(snr=snr))
            case Corrected.NONE:
                return predictor


def draw(
    model: ScoreSde,
    plan: Plan,
    streams: Sequence[torch.Generator],
    *,
    report: StepReport = no_report,
) -> Tensor:
    """Draws states `(items, channels, size, size)`, one for each stream; an item depends on its stream alone.

    Args:
        model: The score network.
        plan: How.
        streams: Random numbers of each item.
        report: As solvers call it.
    """
    source = prior(model)
    times = UniformGrid(plan.stops)(source.path)
    noise = source.start(streams, times[0])
    return plan.solver(model)(source.denoiser(), noise, times, source.path, generator=streams, report=report)


def likelihood(
    model: ScoreSde, pictures: Tensor, *, probes: int, tolerance: float, generator: torch.Generator
) -> FlowLikelihood:
    """Log densities in nats of pictures `(b, 3, size, size)` in [-1, 1], as densities of pictures on that scale."""
    states = model.from_pictures(pictures)
    method = Dopri5(rtol=tolerance, atol=tolerance)
    found = log_likelihood(
        denoiser(model), states, model.config.sde, trace=Hutchinson(count=probes), method=method, generator=generator
    )
    shrunk = 0.0 if model.config.network.centred else math.log(2.0)
    return found._replace(log_prob=found.log_prob - shrunk * states[0].numel())


def prior(model: ScoreSde) -> Prior:
    """The model as rooms see it that work on any diffusion model."""
    network = model.config.network
    return Prior(
        network=model,
        path=model.config.sde,
        prediction=Epsilon(),
        shape=(network.channels, network.size, network.size),
        to_pictures=model.to_pictures,
        from_pictures=model.from_pictures,
        size=network.size,
    )
