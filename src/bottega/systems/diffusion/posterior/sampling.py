"""Drawing from a posterior: one prior, any solver, and what the request adds to it by Bayes' rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import torch
import torch.nn.functional as F
from torch import Tensor

from bottega.processes.diffusion import (
    CleanLikelihood,
    Ddim,
    Ddpm,
    Denoiser,
    DpmSolverPp2m,
    Edit,
    Edited,
    Edm,
    EdmGrid,
    Euler,
    Guidance,
    Heun,
    Isotropic,
    LinearGaussian,
    LinearOperator,
    LogLikelihood,
    MergedKnown,
    NoisyLikelihood,
    Path,
    Prior,
    Sdedit,
    Solver,
    StepReport,
    Time,
    Tweedie,
    UniformGrid,
    no_report,
)
from bottega.systems.diffusion.posterior.model import Reader, ScanPrior
from bottega.training import draw_generators


class Method(Enum):
    """How a linear measurement pulls at the draw."""

    PROJECT = "project"
    """The expected picture is projected onto what was measured: DDNM+."""
    GRADIENT = "gradient"
    """The gradient of the likelihood through the network: PiGDM. Twice the work."""
    MERGE = "merge"
    """The measurement, noised, takes the place of what the state would measure: the paper on medical imaging."""


class SolverName(Enum):
    """What follows the denoiser."""

    DDIM = "ddim"
    ANCESTRAL = "ancestral"
    EULER = "euler"
    HEUN = "heun"
    DPM = "dpm"
    """DPM-Solver++ 2M."""

    def solver(self) -> Solver:
        """The solver."""
        return {"ddim": Ddim(), "ancestral": Ddpm(), "euler": Euler(), "heun": Heun(), "dpm": DpmSolverPp2m()}[
            self.value
        ]

    @property
    def label(self) -> str:
        """As the field writes it."""
        return _SOLVER_LABELS[self]


_SOLVER_LABELS = {
    SolverName.DDIM: "DDIM",
    SolverName.ANCESTRAL: "Ancestral",
    SolverName.EULER: "Euler",
    SolverName.HEUN: "Heun",
    SolverName.DPM: "DPM-Solver++ 2M",
}


DATA_VARIANCE = 0.25
"""Variance of the states of scans and emoji, whose standard deviation is about 0.5."""

CLEAN_ANGLE = 0.15
"""The noise, as atan(sigma / alpha), that the reader is told of an expected picture, which is smooth but not noisy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """How states are drawn.

    Args:
        prior: The diffusion model.
        solver: What follows it.
        steps: Its steps.
        seed: Item i depends on the seed and i alone, but for solvers and edits that add noise on the way.
        report: As solvers call it.
    """

    prior: Prior
    solver: Solver
    steps: int
    seed: int
    report: StepReport = no_report

    @property
    def times(self) -> tuple[float, ...]:
        """The grid: even in time, or EDM's where time is the noise level."""
        path = self.prior.path
        return (EdmGrid(self.steps) if isinstance(path, Edm) else UniformGrid(self.steps))(path)

    def draw(self, count: int, guidance: Guidance | None = None, edit: Edit | None = None, resample: int = 1) -> Tensor:
        """States `(count, *shape)` under a guidance, with an edit at every time."""
        prior, times = self.prior, self.times
        solver = self.solver if edit is None else Edited(solver=self.solver, edit=edit, resample=resample)
        start = prior.start(draw_generators(self.seed, count), times[0])
        return solver(
            self._denoiser(guidance), start, times, prior.path, cond=prior.conditions((), count),
            generator=self._generator(), report=self.report,
        )  # fmt: skip

    def edit(self, guide: Tensor, strength: float, repeats: int = 1, known: Tensor | None = None) -> Tensor:
        """States from a guide `(b, *shape)`: SDEdit."""
        sdedit = Sdedit(solver=self.solver, strength=strength, repeats=repeats, known=known)
        cond = self.prior.conditions((), len(guide))
        return sdedit(
            self._denoiser(None), guide, self.times, self.prior.path, cond=cond, generator=self._generator(),
            report=self.report,
        )  # fmt: skip

    def restore(self, operator: LinearOperator, measured: Tensor, noise_std: float, method: Method) -> Tensor:
        """States behind measurements of states, `(b, ...)`.

        Args:
            operator: What measured the states.
            measured: The measurements.
            noise_std: Standard deviation of their noise.
            method: How they pull.
        """
        if method is Method.MERGE:
            return self.draw(len(measured), edit=MergedKnown(operator=operator, measured=measured))
        even = Isotropic(data_variance=DATA_VARIANCE)
        guidance = LinearGaussian(
            operator=operator, measured=measured, noise_std=noise_std, path=self.prior.path, certainty=even,
            carry=even if method is Method.PROJECT else Tweedie(),
        )  # fmt: skip
        return self.draw(len(measured), guidance)

    def restore_decoded(self, operator: LinearOperator, measured: Tensor, noise_std: float) -> Tensor:
        """States whose pictures were measured, for models that draw something else than pixels: DPS with a variance."""
        even, prior = Isotropic(data_variance=DATA_VARIANCE), self.prior

        def log_likelihood(x0: Tensor, t: Time) -> Tensor:
            error = measured - operator.forward(prior.to_pictures(x0).to(measured.dtype))
            power = error.square().flatten(1).sum(1)
            times = torch.as_tensor(t, dtype=torch.float64).expand(len(power))
            spread = even.variance(prior.path.alpha(times), prior.path.sigma(times))
            return -0.5 * power / (noise_std**2 + torch.as_tensor(spread).to(power))

        return self.draw(len(measured), CleanLikelihood(log_likelihood=log_likelihood, path=prior.path))

    def _denoiser(self, guidance: Guidance | None) -> Denoiser:
        plain = self.prior.denoiser()
        return plain if guidance is None else guidance(plain)

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed + 1)


def draws_pixels(prior: Prior) -> bool:
    """Whether a model's states are the pictures themselves."""
    return prior.shape == (3, prior.size, prior.size)


def told_by(reader: Reader, prior: Prior, score: Callable[[tuple[Tensor, Tensor]], Tensor], scale: float) -> Guidance:
    """Guidance by what the reader says.

    The reader looks at the noisy state where that is a picture of its size; elsewhere at the expected picture.

    Args:
        reader: The reader.
        prior: The diffusion model.
        score: The reader's logits (groups, words) to log p(asked | picture), `(b,)`.
        scale: Power of the likelihood.
    """
    size, path = reader.config.size, prior.path
    if draws_pixels(prior) and prior.size == size:
        return NoisyLikelihood(log_likelihood=_of_noisy(reader, path, score), path=path, scale=scale)

    def log_likelihood(x0: Tensor, t: Time) -> Tensor:
        pictures = F.interpolate(prior.to_pictures(x0).float(), size=(size, size), mode="area")
        angle = torch.full((len(pictures),), CLEAN_ANGLE, device=pictures.device)
        return score(reader(pictures * angle.cos()[:, None, None, None], angle.cos(), angle.sin()))

    return CleanLikelihood(log_likelihood=log_likelihood, path=path, scale=scale)


def _of_noisy(reader: Reader, path: Path, score: Callable[[tuple[Tensor, Tensor]], Tensor]) -> LogLikelihood:
    def log_likelihood(x_t: Tensor, t: Time) -> Tensor:
        times = torch.as_tensor(t, dtype=torch.float64).expand(len(x_t))
        alpha, sigma = (part.to(x_t) for part in (path.alpha(times), path.sigma(times)))
        return score(reader(x_t, alpha, sigma))

    return log_likelihood


def measured_states(scans: ScanPrior, operator: LinearOperator, measured: Tensor) -> Tensor:
    """A measurement of densities as one of states, which are slope times the density plus an offset."""
    size = scans.config.size
    ones = operator.forward(torch.ones(1, 1, size, size))
    return scans.slope * measured + scans.offset * ones
