"""Exact log-likelihood of a diffusion model by the probability-flow ODE: a continuous normalising flow.

log p(x) = log p_T(x_T) + the integral of the divergence of dx/dt from x's time to T. The divergence needs the trace of
the denoiser's Jacobian: exactly, or by Hutchinson's estimate from random probes.

Source: arXiv:2011.13456 section 4.3 and appendix D.2; arXiv:1810.01367.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Protocol, final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.ode import Dopri5, flow_start
from bottega.processes.diffusion.paths import Path
from bottega.processes.diffusion.predictions import Denoiser
from bottega.processes.diffusion.sde import rates

Map = Callable[[Tensor], Tensor]


class Trace(Protocol):
    """A way to find the trace of a map's Jacobian."""

    def probes(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """The vectors `(probes, b, ...)` that the Jacobian is multiplied with, fixed for a whole trajectory."""
        ...


@final
@dataclass(frozen=True, slots=True)
class ExactTrace:
    """All unit vectors: one backward pass for each number of a sample."""

    def probes(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """The unit vectors."""
        dims = x[0].numel()
        eye = torch.eye(dims, dtype=x.dtype, device=x.device).reshape(dims, 1, *x.shape[1:])
        return eye.expand(dims, *x.shape)


class Probe(Enum):
    """What random probes are drawn from; both have unit covariance."""

    RADEMACHER = "signs"
    GAUSSIAN = "normal"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Hutchinson:
    """The mean of v^T J v over random probes v: unbiased, and one backward pass for each probe.

    Args:
        kind: Signs (less variance) or normal numbers.
        count: Probes, at least 1; each is fixed along the trajectory.

    Source: Hutchinson 1989; arXiv:1810.01367 section 3.1.
    """

    kind: Probe = Probe.RADEMACHER
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise RequestError.of("probes", self.count, "at least 1")

    def probes(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """The probes, each scaled so that their sum is the mean."""
        device = x.device if generator is None else generator.device
        shape = (self.count, *x.shape)
        if self.kind is Probe.GAUSSIAN:
            drawn = torch.randn(shape, generator=generator, device=device, dtype=x.dtype)
        else:
            drawn = torch.randint(2, shape, generator=generator, device=device).to(x.dtype) * 2 - 1
        return drawn.to(x.device) / math.sqrt(self.count)


class FlowLikelihood(NamedTuple):
    """Log-likelihoods and what was found on the way.

    Args:
        log_prob: Log density in nats, `(b,)`, float64.
        code: The noise at t_max that the samples flow to, of their shape.
        prior_log_prob: Log density of the code, `(b,)`.
        evaluations: Calls of the denoiser.
    """

    log_prob: Tensor
    code: Tensor
    prior_log_prob: Tensor
    evaluations: int


def log_likelihood(
    denoiser: Denoiser,
    x: Tensor,
    path: Path,
    *,
    cond: Any = None,  # noqa: ANN401 - the model's type
    trace: Trace = ExactTrace(),  # noqa: B008 - frozen
    method: Dopri5 = Dopri5(),  # noqa: B008
    end: Map | None = None,
    generator: torch.Generator | None = None,
) -> FlowLikelihood:
    """The log density of samples under a diffusion model.

    Args:
        denoiser: `(x_t, t, cond) -> x0`, differentiable in x_t.
        x: Clean samples `(b, ...)`.
        path: The path that the denoiser works on.
        cond: Handed to the denoiser as it is.
        trace: How the divergence is found.
        method: The ODE's solver.
        end: Log density `(b, ...) -> (b,)` at t_max; None is pure noise, N(0, sigma(t_max)^2).
        generator: Source of random probes.
    """
    start, shape, count = flow_start(path), x.shape, len(x)
    with torch.inference_mode(False):  # what autograd keeps must be made outside of inference mode
        probes = trace.probes(x, generator)
    squares = probes.square().flatten(2).sum((0, 2)).double()  # v^T v: where J is near I the parts must cancel

    def field(t: float, y: Tensor) -> Tensor:
        a, b = rates(path, t).flow
        state = y[:, :-1].reshape(shape)
        x0, spread = _with_trace(lambda part: denoiser(part.to(x.dtype), t, cond), state, probes)
        change = torch.cat([x0.flatten(1) * b + y[:, :-1] * a, (spread * b + squares * a)[:, None]], dim=1)
        return change.to(y.dtype)

    y = torch.cat([x.flatten(1).double(), torch.zeros(count, 1, dtype=torch.float64, device=x.device)], dim=1)
    solved = method.solve(field, y, start, path.t_max)
    code = solved.y[:, :-1].reshape(shape)
    prior = gaussian_log_prob(code, path.sigma(path.t_max)) if end is None else end(code)
    return FlowLikelihood(prior + solved.y[:, -1], code.to(x.dtype), prior, solved.evaluations)


def _with_trace(function: Map, x: Tensor, probes: Tensor) -> tuple[Tensor, Tensor]:
    """A map's value and the sum of v^T J v over the probes."""
    with torch.inference_mode(False), torch.enable_grad():
        state = x.detach().clone().requires_grad_()
        value = function(state)
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for number, probe in enumerate(probes, 1):
            (product,) = torch.autograd.grad((value * probe).sum(), state, retain_graph=number < len(probes))
            total += (product * probe).flatten(1).sum(1).double()
    return value.detach(), total


def gaussian_log_prob(x: Tensor, std: float) -> Tensor:
    """Log density of N(0, std^2) at samples `(b, ...)`, in nats, `(b,)`, float64."""
    flat = x.flatten(1).double()
    return -0.5 * (flat / std).square().sum(1) - flat.shape[1] * math.log(std * math.sqrt(2 * math.pi))


def bits_per_dimension(log_prob: Tensor, dims: int, bin_width: float = 2 / 256) -> Tensor:
    """Bits for each number of a sample that was rounded to bins.

    Args:
        log_prob: Log density in nats of samples spread evenly over their bins (see `dequantised`), `(b,)`.
        dims: Numbers in a sample.
        bin_width: Width of a bin: 2 / 256 for bytes as [-1, 1], which adds 7 bits.

    Source: arXiv:1511.01844 section 3.1.
    """
    return -(log_prob / dims + math.log(bin_width)) / math.log(2)


def dequantised(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Bytes (0 to 255, any shape) as floats in [-1, 1), each spread evenly over its bin."""
    spread = torch.rand(pictures.shape, generator=generator, device=generator.device).to(pictures.device)
    return (pictures.float() + spread) / 128 - 1
