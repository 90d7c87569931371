"""Every path x prediction x solver x guidance on a Gaussian mixture where the exact answer is known.

Data are pairs (u, w): u is Gaussian about what the condition says, w a mixture of two Gaussians, apart from u. Every
guidance here makes data of the same kind with another Gaussian u, so the guided distribution is known. So is the flow
of the probability-flow ODE: in y = x / alpha, with noise rho = sigma / alpha, u moves linearly and w keeps its
quantile, whatever the path. Deterministic solvers must carry each state where the flow does, stochastic ones must end
in the distribution.

The classes come from the package itself: a new path, prediction or solver is in the product as soon as it is exported,
and the test fails if it does not know how to make one.
"""

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

import bottega.processes.diffusion as package
from bottega.processes.diffusion import (
    X0,
    AdaptiveOde,
    AnnealedLangevin,
    Churn,
    ClassifierFree,
    CleanLikelihood,
    Clipped,
    Ddim,
    DdimInversion,
    Deis,
    DeisVariable,
    Denoised,
    Denoiser,
    DiscreteVp,
    Dopri5,
    DpmMultistep,
    DpmSinglestep,
    Edited,
    Euler,
    EulerMaruyama,
    Expansion,
    Heun,
    IntervalGuidance,
    Isotropic,
    LearnedVp,
    LinearGaussian,
    Matrix,
    Nodes,
    NoisyLikelihood,
    ParaDigms,
    Path,
    Plms,
    Pndm,
    PowerCosine,
    Prediction,
    RangedDdpm,
    ReverseDiffusion,
    Schedule,
    Solver,
    Target,
    UniPc,
)

NOISY, CLEAN, STEPS = 5.0, 0.2, 10
U_STD, NULL_MEAN, COND_MEAN, SCALE = 0.6, 0.5, -0.4, 2.0
W_MEANS, W_STDS, W_SHARES = (-1.2, 0.9), (0.5, 0.35), (0.3, 0.7)
MEASURED, MEASURED_STD = 0.8, 0.5
FEW, MANY = 12, 120
"""States for each prediction: to follow one by one, and to take moments of."""


# ------------------------------------------------------------------------------------------------------ what there is
def exported(kind: Callable[[type], bool]) -> list[type]:
    """The concrete public classes of a kind."""
    found = [each for each in map(vars(package).get, package.__all__) if inspect.isclass(each)]
    return [each for each in found if not inspect.isabstract(each) and not is_protocol(each) and kind(each)]


def is_protocol(each: type) -> bool:
    return getattr(each, "_is_protocol", False)


def is_path(each: type) -> bool:
    return all(hasattr(each, name) for name in ("t_clean", "time_of_log_snr", "scale"))


def is_guidance(each: type) -> bool:
    call = vars(each).get("__call__")
    return call is not None and list(inspect.signature(call).parameters)[1:] == ["denoiser"]


def made(kind: type, known: dict[type, list[Any]]) -> list[Any]:
    """Instances of a class: those that are known, or the default one; none if it has no default."""
    if kind in known:
        return known[kind]
    needed = [p for p in inspect.signature(kind).parameters.values() if p.default is inspect.Parameter.empty]
    return [] if needed else [kind()]


PATHS: dict[type, list[Any]] = {DiscreteVp: [DiscreteVp.scaled_linear()], LearnedVp: [LearnedVp(Schedule(features=0))]}
SOLVERS: dict[type, list[Any]] = {
    AdaptiveOde: [AdaptiveOde(method=Dopri5(rtol=3e-2, atol=3e-2))],
    AnnealedLangevin: [AnnealedLangevin(step=0.03, steps_per_level=4, denoise=False)],
    Ddim: [Ddim(), Ddim(eta=1.0)],
    Deis: [Deis(), Deis(variable=DeisVariable.TIME), Deis(order=2, variable=DeisVariable.RHO)],
    DpmMultistep: [
        DpmMultistep(),
        DpmMultistep(order=2, eta=1.0),
        DpmMultistep(order=2, target=Target.NOISE),
        DpmMultistep(expansion=Expansion.EXACT, eta=0.5),
    ],
    DpmSinglestep: [
        DpmSinglestep(),
        DpmSinglestep(order=2),
        DpmSinglestep(order=2, target=Target.DATA, eta=1.0),
        DpmSinglestep(target=Target.DATA, nodes=Nodes.GRID),
    ],
    Edited: [Edited(solver=Heun(), edit=lambda x, level, draw: x)],
    EulerMaruyama: [EulerMaruyama(), EulerMaruyama(stochastic=False)],
    Heun: [Heun(), Heun(churn=Churn(amount=5.0))],
    Euler: [Euler(), Euler(churn=Churn(amount=5.0))],
    Plms: [Plms(), Plms(order=2)],
    Pndm: [Pndm(), Pndm(order=2)],
    ReverseDiffusion: [ReverseDiffusion(), ReverseDiffusion(stochastic=False)],
    UniPc: [UniPc(), UniPc(order=2, target=Target.NOISE), UniPc(corrector=False)],
}
ROUGH = (DdimInversion, EulerMaruyama, ReverseDiffusion)
"""Solvers of first order with large constants, which take more steps."""
EVERY_PREDICTION: list[Prediction] = [
    each for kind in exported(lambda k: hasattr(k, "to_x0") and hasattr(k, "from_x0")) for each in made(kind, {})
]
EVERY_PATH: list[Path] = [each for kind in exported(is_path) for each in made(kind, PATHS)]
EVERY_SOLVER: list[Any] = [
    *(each for kind in exported(lambda k: issubclass(k, Solver)) for each in made(kind, SOLVERS)),
    ParaDigms(window=5),
    ParaDigms(solver=DpmSinglestep(order=2), window=5),
]


# ----------------------------------------------------------------------------------------------------- exact answers
@dataclass(frozen=True)
class Answer:
    """The distribution of (u, w) that a guided denoiser belongs to."""

    mean: float
    variance: float

    @functools.cache  # noqa: B019 - a few answers in one test file
    def flow(self, count: int, here: float, there: float) -> Tensor:
        """Where the ODE carries the states of `draw` from one noise level to another."""
        y = self.draw(count, here)
        ratio = math.sqrt((self.variance + there**2) / (self.variance + here**2))
        u = self.mean + (y[:, 0] - self.mean) * ratio
        return torch.stack([u, w_quantile(w_share_below(y[:, 1], here), there)], dim=1)

    def moments(self, rho: float) -> Tensor:
        """Means and standard deviations of u and w under noise rho."""
        mean = sum(p * m for p, m in zip(W_SHARES, W_MEANS, strict=True))
        power = sum(p * (m * m + s * s) for p, m, s in zip(W_SHARES, W_MEANS, W_STDS, strict=True))
        variances = self.variance + rho**2, power - mean**2 + rho**2
        return torch.tensor([self.mean, mean, *map(math.sqrt, variances)], dtype=torch.float64)

    @functools.cache  # noqa: B019
    def draw(self, count: int, rho: float) -> Tensor:
        """States y under noise rho: the distribution's even quantiles, in u and w put together by chance."""
        places = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        u = self.mean + math.sqrt(self.variance + rho**2) * torch.special.ndtri(places)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        return torch.stack([u, w_quantile(places, rho)[order]], dim=1)


def w_share_below(w: Tensor, rho: float) -> Tensor:
    parts = zip(W_SHARES, W_MEANS, W_STDS, strict=True)
    return sum((p * torch.special.ndtr((w - m) / math.hypot(s, rho)) for p, m, s in parts), torch.zeros_like(w))


def w_quantile(share: Tensor, rho: float) -> Tensor:
    low, high = torch.full_like(share, -60.0), torch.full_like(share, 60.0)
    for _ in range(60):
        middle = (low + high) / 2
        below = w_share_below(middle, rho) < share
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class Exact:
    """A network that knows its data: what it says about (u, w), whose u has the condition's mean."""

    path: Path
    prediction: Prediction

    def __call__(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        alpha, sigma = self.path.alpha(t).reshape(-1, 1), self.path.sigma(t).reshape(-1, 1)
        means = torch.tensor(W_MEANS, dtype=torch.float64)
        spread = alpha**2 * torch.tensor(W_STDS, dtype=torch.float64) ** 2 + sigma**2
        offset = x[:, 1:] - alpha * means
        share = torch.softmax(torch.tensor(W_SHARES).log() - 0.5 * (offset**2 / spread + spread.log()), dim=1)
        inner = means + alpha * torch.tensor(W_STDS, dtype=torch.float64) ** 2 / spread * offset
        gain = alpha * U_STD**2 / ((alpha * U_STD) ** 2 + sigma**2)
        u = cond + gain * (x[:, :1] - alpha * cond)
        return self.prediction.from_x0(torch.cat([u, (share * inner).sum(1, keepdim=True)], 1), x, alpha, sigma)


@dataclass(frozen=True)
class AtOnce:
    """All predictions at once, each for its share of the batch: the product's cheapest factor."""

    kinds: list[Prediction] = field(default_factory=lambda: EVERY_PREDICTION)

    def to_x0(self, output: Tensor, x_t: Tensor, alpha: Any, sigma: Any) -> Tensor:
        return self._each("to_x0", output, x_t, alpha, sigma)

    def from_x0(self, x0: Tensor, x_t: Tensor, alpha: Any, sigma: Any) -> Tensor:
        return self._each("from_x0", x0, x_t, alpha, sigma)

    def _each(self, name: str, one: Tensor, x_t: Tensor, alpha: Any, sigma: Any) -> Tensor:
        bounds = [len(one) * i // len(self.kinds) for i in range(len(self.kinds) + 1)]
        done = []
        for kind, low, high in zip(self.kinds, bounds, bounds[1:], strict=False):
            a, s = (c[low:high] if isinstance(c, Tensor) and len(c) > 1 else c for c in (alpha, sigma))
            done.append(getattr(kind, name)(one[low:high], x_t[low:high], a, s))
        return torch.cat(done)


# --------------------------------------------------------------------------------------------------------- guidances
GUIDED = Answer(NULL_MEAN + SCALE * (COND_MEAN - NULL_MEAN), U_STD**2)
_PRECISION = 1 / U_STD**2 + 1 / MEASURED_STD**2
POSTERIOR = Answer((COND_MEAN / U_STD**2 + MEASURED / MEASURED_STD**2) / _PRECISION, 1 / _PRECISION)
NULL = torch.tensor([[NULL_MEAN]], dtype=torch.float64)
SEEN = torch.tensor([[MEASURED]], dtype=torch.float64)


def left_open(t: Any, path: Path) -> Tensor:
    """Variance of u given its noisy state."""
    t = torch.as_tensor(t, dtype=torch.float64).reshape(-1)
    return Isotropic(data_variance=U_STD**2).variance(path.alpha(t), path.sigma(t))


def clean_likelihood(path: Path) -> CleanLikelihood:
    def log_likelihood(x0: Tensor, t: Any) -> Tensor:
        return -0.5 * (MEASURED - x0[:, 0]) ** 2 / (MEASURED_STD**2 + left_open(t, path))

    return CleanLikelihood(log_likelihood=log_likelihood, path=path, carry=Isotropic(data_variance=U_STD**2))


def noisy_likelihood(path: Path) -> NoisyLikelihood:
    network = Exact(path, X0())

    def log_likelihood(x_t: Tensor, t: Any) -> Tensor:
        times = torch.as_tensor(t, dtype=torch.float64).expand(len(x_t))
        u = network(x_t, times, torch.full((len(x_t), 1), COND_MEAN, dtype=torch.float64))[:, 0]
        return -0.5 * (MEASURED - u) ** 2 / (MEASURED_STD**2 + left_open(t, path))

    return NoisyLikelihood(log_likelihood=log_likelihood, path=path)


def measurement(path: Path) -> LinearGaussian:
    first = Matrix(torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    part = Isotropic(data_variance=U_STD**2)
    return LinearGaussian(operator=first, measured=SEEN, noise_std=MEASURED_STD, path=path, certainty=part, carry=part)


def free(scale: float = SCALE, *, batched: bool = True) -> ClassifierFree:
    return ClassifierFree(scale=scale, null_cond=NULL, batched=batched)


GUIDANCES: dict[type, Callable[[Path], tuple[Any, Answer]]] = {
    ClassifierFree: lambda path: (free(), GUIDED),
    IntervalGuidance: lambda path: (
        IntervalGuidance(guidance=free(batched=False), low=-math.inf, high=math.inf),
        GUIDED,
    ),
    PowerCosine: lambda path: (PowerCosine(scale=SCALE, null_cond=NULL, horizon=1e6, power=1e-9), GUIDED),
    Clipped: lambda path: (Clipped(low=-50.0, high=50.0), Answer(COND_MEAN, U_STD**2)),
    CleanLikelihood: lambda path: (clean_likelihood(path), POSTERIOR),
    NoisyLikelihood: lambda path: (noisy_likelihood(path), POSTERIOR),
    LinearGaussian: lambda path: (measurement(path), POSTERIOR),
}


# ------------------------------------------------------------------------------------------------------- the product
def times_of(path: Path, steps: int) -> list[float]:
    """Even in log-SNR from `NOISY` to `CLEAN`."""
    high, low = -2 * math.log(NOISY), -2 * math.log(CLEAN)
    return [path.time_of_log_snr(high + (low - high) * i / steps) for i in range(steps + 1)]


def told(solver: Any, denoiser: Denoiser) -> Denoiser:
    """The denoiser as this solver needs it."""
    if not isinstance(solver, RangedDdpm):
        return denoiser
    return lambda x, t, cond: torch.cat([x0 := denoiser(x, t, cond), -torch.ones_like(x0)], dim=1)


def is_first(solver: Any) -> bool:
    """Whether this is its class's first entry, which meets every guidance; its other settings meet one."""
    return solver is next(each for each in EVERY_SOLVER if type(each) is type(solver))


def is_stochastic(solver: Any) -> bool:
    """Whether two seeds give two results."""
    path = package.Vp()

    def run(seed: int) -> Tensor:
        denoiser = told(solver, lambda x, t, cond: 0.5 * x)
        times = times_of(path, 3)[:: -1 if isinstance(solver, DdimInversion) else 1]
        return solver(denoiser, torch.ones(2, 2), times, path, generator=torch.Generator().manual_seed(seed))

    return not torch.equal(run(0), run(1))


@pytest.mark.parametrize("path", EVERY_PATH, ids=lambda path: type(path).__name__)
@pytest.mark.parametrize("solver", EVERY_SOLVER, ids=lambda solver: repr(solver)[:60])
def test_every_combination_gives_the_exact_answer(path: Path, solver: Any):
    stochastic = is_stochastic(solver)
    each = MANY if stochastic else FEW
    times = times_of(path, (2 if stochastic else 6 if isinstance(solver, ROUGH) else 1) * STEPS)
    if isinstance(solver, DdimInversion):
        times = times[::-1]
    end = times[-2 if isinstance(solver, AnnealedLangevin) else -1]  # its last level is the last but one time
    here, there = (CLEAN, NOISY) if isinstance(solver, DdimInversion) else (NOISY, path.sigma(end) / path.alpha(end))
    plain = Denoised(Exact(path, AtOnce()), path, AtOnce())
    cond = torch.full((each * len(EVERY_PREDICTION), 1), COND_MEAN, dtype=torch.float64)
    guidances = (
        [(None, None), *GUIDANCES.items()] if is_first(solver) else [(ClassifierFree, GUIDANCES[ClassifierFree])]
    )
    for kind, make in guidances:
        guidance, answer = (None, Answer(COND_MEAN, U_STD**2)) if make is None else make(path)
        denoiser = told(solver, plain if guidance is None else guidance(plain))
        start = answer.draw(len(cond), here)
        generator = torch.Generator().manual_seed(1)
        y = solver(denoiser, path.alpha(times[0]) * start, times, path, cond=cond, generator=generator)
        y = y.double() / path.alpha(end)
        where = f"{type(path).__name__}, {solver}, {kind.__name__ if kind else 'no guidance'}"
        if stochastic:
            found, right = torch.cat([y.mean(0), y.std(0)]), answer.moments(there)
            assert (found - right).abs().max() < 0.15, f"{where}: moments {found.tolist()}, not {right.tolist()}"
            continue
        errors = (
            ((y - answer.flow(len(cond), here, round(there, 9))) / math.hypot(1.0, there)).square().mean(1).split(each)
        )
        for prediction, error in zip(EVERY_PREDICTION, errors, strict=True):
            assert error.mean().sqrt() < 0.12, f"{where}, {prediction}: {error.mean().sqrt():.3f} from the exact flow"


def test_every_public_class_is_in_the_product():
    """What is new and has no default is added above; a guidance with the distribution that it leads to."""
    assert {type(each) for each in EVERY_PATH} == set(exported(is_path))
    assert {type(each) for each in EVERY_SOLVER} >= set(exported(lambda k: issubclass(k, Solver)))
    assert set(GUIDANCES) == set(exported(is_guidance))
    assert len(EVERY_PREDICTION) >= 5


def test_a_wrong_denoiser_is_noticed():
    """The product can fail: guidance of another scale ends elsewhere."""
    path = package.Vp()
    times = times_of(path, STEPS)
    start = GUIDED.draw(FEW, NOISY)
    cond = torch.full((FEW, 1), COND_MEAN, dtype=torch.float64)
    denoiser = free(SCALE + 0.5)(Denoised(Exact(path, X0()), path, X0()))
    y = Heun()(denoiser, path.alpha(times[0]) * start, times, path, cond=cond) / path.alpha(times[-1])
    error = (y - GUIDED.flow(FEW, NOISY, CLEAN)).square().mean().sqrt()
    assert error > 0.2
