"""Score SDEs: their paths against closed forms, and their samplers against exact data and diffusers."""

import math
from functools import partial

import pytest
import torch
from diffusers import ScoreSdeVeScheduler
from diffusers.schedulers.deprecated import ScoreSdeVpScheduler

from bottega.errors import RequestError
from bottega.processes.diffusion import (
    AdaptiveOde,
    AnnealedCorrector,
    CosineVp,
    Ddpm,
    DiscreteVp,
    Edm,
    Epsilon,
    EulerMaruyama,
    GaussianMixture,
    Heun,
    LangevinCorrector,
    LikelihoodWeighting,
    Path,
    PredictorCorrector,
    RectifiedFlow,
    ReverseDiffusion,
    Score,
    Sde,
    SubVp,
    UniformGrid,
    V,
    VeGeometric,
    Vp,
    initial_noise,
    rates,
    score_of,
)

VE, SUB_VP = VeGeometric(sigma_max=20.0), SubVp()
TWO = GaussianMixture.isotropic([0.3, 0.7], [[1.0], [-0.5]], [0.3, 0.2])


def expected(x: torch.Tensor, t: float, path: Path) -> torch.Tensor:
    """E[x0 | x_t] of `TWO`, written for one dimension, where it needs no matrices."""
    alpha, sigma = path.alpha(t), path.sigma(t)
    means, stds = TWO.means[:, 0], TWO.covariances[:, 0, 0].sqrt()
    variance, offset = (alpha * stds) ** 2 + sigma**2, x - alpha * means
    share = torch.softmax(TWO.weights.log() - 0.5 * (offset**2 / variance + variance.log()), dim=1)
    return (share * (means + alpha * stds**2 / variance * offset)).sum(1, keepdim=True)


def name(value: object) -> str:
    return type(value).__name__


@pytest.mark.parametrize("path", [VE, SUB_VP], ids=name)
def test_floats_and_tensors_agree_and_the_inverse_inverts(path):
    times = [1e-3, 0.1, 0.5, 1.0]
    rows = torch.tensor(times)
    assert isinstance(path, Path)
    for method in (path.alpha, path.sigma, path.log_snr, path.scale, path.drift, path.diffusion_squared):
        torch.testing.assert_close(method(rows), torch.tensor([method(t) for t in rows.tolist()]).double())
        assert isinstance(method(0.5), float)
    for t in times:
        assert path.time_of_log_snr(path.log_snr(t)) == pytest.approx(t, rel=1e-9)
        assert path.log_snr(t) == pytest.approx(2 * math.log(path.alpha(t) / path.sigma(t)))
    torch.testing.assert_close(path.time_of_log_snr(path.log_snr(rows)), rows.double())
    assert (path.alpha(path.t_clean), path.sigma(path.t_clean)) == (1.0, 0.0)


def test_closed_forms_of_the_paper():
    assert VE.sigma(1.0) == pytest.approx(20.0)
    assert VE.sigma(0.5) == pytest.approx(math.sqrt(0.01 * 20.0))
    integral = 0.1 * 0.7 + 0.5 * 19.9 * 0.7**2
    assert SUB_VP.sigma(0.7) == pytest.approx(1 - math.exp(-integral))
    assert SUB_VP.sigma(0.2) < Vp().sigma(0.2)
    assert VE.time_of_log_snr(40.0) == VE.t_min


@pytest.mark.parametrize("path", [Vp(), VE, SUB_VP, CosineVp(), Edm(), RectifiedFlow(), DiscreteVp.linear()], ids=name)
def test_the_sde_has_the_paths_marginals(path):
    """Mean and variance integrated from f and g^2 alone arrive where alpha and sigma are."""
    low, high = path.t_min + 0.05 * (path.t_max - path.t_min), path.t_min + 0.6 * (path.t_max - path.t_min)
    mean, variance, count = path.alpha(low), path.sigma(low) ** 2, 300
    gap = (high - low) / count
    for i in range(count):
        sde = rates(path, low + (i + 0.5) * gap)
        mean += gap * sde.drift * mean
        variance += gap * (2 * sde.drift * variance + sde.diffusion_squared)
    assert mean == pytest.approx(path.alpha(high), rel=1e-2)
    assert variance == pytest.approx(path.sigma(high) ** 2, rel=3e-2)


@pytest.mark.parametrize("path", [VE, SUB_VP], ids=name)
def test_simulated_noise_has_the_paths_variance(path):
    assert isinstance(path, Sde)
    x, count = torch.full((4000,), 0.7, dtype=torch.float64), 400
    generator = torch.Generator().manual_seed(0)
    start = 1e-4
    x = path.alpha(start) * x + path.sigma(start) * torch.randn(4000, generator=generator, dtype=torch.float64)
    for i in range(count):
        t, gap = start + (i + 0.5) * (1 - start) / count, (1 - start) / count
        noise = torch.randn(4000, generator=generator, dtype=torch.float64)
        x = x + path.drift(t) * gap * x + math.sqrt(path.diffusion_squared(t) * gap) * noise
    assert float(x.std()) == pytest.approx(path.sigma(1.0), rel=0.05)
    assert float(x.mean()) == pytest.approx(0.7 * path.alpha(1.0), abs=0.1 * path.sigma(1.0))


@pytest.mark.parametrize("path", [Vp(), VE, SUB_VP, Edm(), DiscreteVp.linear()], ids=name)
def test_rates_of_tensors_are_those_of_floats_also_under_inference_mode(path):
    times = [path.t_min + part * (path.t_max - path.t_min) for part in (0.2, 0.7, 1.0)]
    with torch.inference_mode():
        rows = rates(path, torch.tensor(times, dtype=torch.float64))
    for i, t in enumerate(times):
        for row, number in zip(rows, rates(path, t), strict=True):
            assert float(row[i]) == pytest.approx(number, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("prediction", [Epsilon(), V(), Score()], ids=name)
def test_likelihood_weighting_weighs_the_scores_error_by_g_squared(prediction):
    t = torch.tensor([0.2, 0.9], dtype=torch.float64)
    for path in (Vp(), VE, SUB_VP):
        alpha, sigma = path.alpha(t), path.sigma(t)
        weight = LikelihoodWeighting(path)(alpha, sigma, prediction)
        x0, other, x_t = torch.tensor([0.3, 0.3]).double(), torch.tensor([0.5, 0.1]).double(), torch.ones(2).double()
        outputs = [prediction.from_x0(x, x_t, alpha, sigma) for x in (x0, other)]
        scores = [(alpha * x - x_t) / sigma**2 for x in (x0, other)]
        by_hand = rates(path, t).diffusion_squared * (scores[0] - scores[1]) ** 2
        torch.testing.assert_close(weight * (outputs[0] - outputs[1]) ** 2, by_hand)


SAMPLERS = {
    "euler-maruyama": EulerMaruyama(),
    "reverse diffusion": ReverseDiffusion(),
    "ancestral": Ddpm(large_variance=True),
    "ancestral, small": Ddpm(),
    "euler ode": EulerMaruyama(stochastic=False),
    "reverse diffusion ode": ReverseDiffusion(stochastic=False),
    "predictor-corrector": PredictorCorrector(),
    "annealed corrector": PredictorCorrector(corrector=AnnealedCorrector(steps=2)),
    "corrected ode": PredictorCorrector(predictor=Heun()),
    "adaptive ode": AdaptiveOde(),
}
TRUTH = TWO.sample(100_000, torch.Generator().manual_seed(5))[:, 0].sort().values[50::100]


def distance(sampler, path: Path, steps: int) -> float:
    """Wasserstein distance of 1000 samples to 100 000 exact ones; two exact sets are about 0.02 apart."""
    generator = torch.Generator().manual_seed(1)
    times = UniformGrid(1 if isinstance(sampler, AdaptiveOde) else steps)(path)
    noise = initial_noise((1000, 1), times[0], path, generator=generator, dtype=torch.float64)
    made = sampler(lambda x, t, cond: expected(x, t, path), noise, times, path, generator=generator)
    return float((made[:, 0].sort().values - TRUTH).abs().mean())


@pytest.mark.parametrize("path", [VE, Vp(), SUB_VP], ids=name)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_converges_to_the_data(sampler, path):
    assert distance(SAMPLERS[sampler], path, 150) < 0.09


def test_few_steps_do_not():
    assert distance(SAMPLERS["reverse diffusion"], VE, 10) > 0.1


@pytest.mark.parametrize("path", [VE, Vp()], ids=name)
def test_correctors_keep_the_marginal(path):
    """Many corrections at one time leave exact states exact, and pull wrong ones right."""
    t, s = 0.5, 0.495
    truth = TWO.at(t, path)
    for corrector in (LangevinCorrector(snr=0.2, steps=100), AnnealedCorrector(snr=0.2, steps=100)):
        generator = torch.Generator().manual_seed(2)
        step, denoiser = corrector.at(t, s, path), partial(expected, path=path)
        draw = lambda x, g=generator: torch.randn(x.shape, generator=g, dtype=x.dtype)  # noqa: E731
        exact_start = truth.sample(3000, generator)
        for start in (exact_start, 0.8 * exact_start + 0.2 * path.sigma(t)):
            x, _ = step.take(start, start, denoiser, draw)
            share = float((x > 0).double().mean())
            exact = float((truth.sample(50_000, generator) > 0).double().mean())
            assert share == pytest.approx(exact, abs=0.05)


def test_the_snr_rule():
    """Sizes are 2 a (r |z| / |s|)^2: over the batch's mean norms, or each sample's own."""
    x = torch.tensor([[1.0, 2.0], [4.0, 8.0]], dtype=torch.float64)
    noise = torch.tensor([[0.5, -0.5], [1.5, 2.0]], dtype=torch.float64)
    x0, path = torch.zeros_like(x), Vp()
    t, s = 0.6, 0.59
    score = score_of(x0, x, path.alpha(t), path.sigma(t))
    factor = (path.alpha(t) / path.alpha(s)) ** 2
    for pooled in (True, False):
        made, _ = LangevinCorrector(snr=0.2, pooled=pooled).at(t, s, path).take(x, x, lambda x, t: x0, lambda x: noise)
        sizes = noise.norm(dim=1, keepdim=True), score.norm(dim=1, keepdim=True)
        z, g = (size.mean() for size in sizes) if pooled else sizes
        size = 2 * factor * (0.2 * z / g) ** 2
        torch.testing.assert_close(made, x + size * score + (2 * size).sqrt() * noise)


def test_a_sample_with_its_own_stream_does_not_depend_on_its_neighbours():
    sampler = PredictorCorrector(corrector=LangevinCorrector(pooled=False))
    path, times = Vp(), UniformGrid(5)(Vp())

    def streams(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    noise = torch.randn((3, 1), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    many = sampler(TWO.denoiser(path), noise, times, path, generator=streams(1, 2, 3))
    alone = sampler(TWO.denoiser(path), noise[1:2], times, path, generator=streams(2))
    assert torch.equal(many[1:2], alone)


def test_predictor_corrector_on_ve_is_diffusers_step_by_step():
    count, snr = 12, 0.15
    theirs = ScoreSdeVeScheduler(num_train_timesteps=count, snr=snr, sigma_min=0.01, sigma_max=20.0)
    theirs.set_timesteps(count)
    theirs.set_sigmas(count)
    denoiser = TWO.denoiser(VE)
    x = 20.0 * torch.randn((64, 1), generator=torch.Generator().manual_seed(3))
    noise, levels = torch.Generator().manual_seed(4), [k / (count - 1) for k in range(count - 1, 0, -1)]
    y = x
    for t, time in zip(theirs.timesteps, [*levels, 1e-12], strict=True):
        score = score_of(denoiser(y, time), y, 1.0, VE.sigma(time))
        y = theirs.step_correct(score, y, generator=noise).prev_sample
        score = score_of(denoiser(y, time), y, 1.0, VE.sigma(time))
        step = theirs.step_pred(score, t, y, generator=noise)
        y = step.prev_sample
    solver = PredictorCorrector(corrector=LangevinCorrector(snr=snr))
    times = (*levels, 1e-12, 0.0)
    ours = solver(denoiser, x, times, VE, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(ours, step.prev_sample_mean, rtol=1e-3, atol=1e-3)


def test_euler_maruyama_on_vp_is_diffusers_step_by_step():
    count, path = 40, Vp()
    theirs = ScoreSdeVpScheduler(num_train_timesteps=count)
    theirs.set_timesteps(count)
    x = torch.randn((64, 1), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    denoiser, noise = TWO.denoiser(path), (torch.Generator().manual_seed(4), torch.Generator().manual_seed(4))
    ours = x
    for t in theirs.timesteps[:-2].double():
        time = float(t)
        output = Epsilon().from_x0(denoiser(x, time), x, path.alpha(time), path.sigma(time))
        x, _ = theirs.step_pred(output, x, t, generator=noise[0])
        ours = EulerMaruyama()(denoiser, ours, (time, time - 1 / count), path, generator=noise[1])
        torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5)


def test_reverse_diffusion_on_discrete_steps_is_the_papers():
    """x - ((sqrt(1 - beta) - 1) x - beta score) + sqrt(beta) noise: equation 46 with DDPM's discretisation."""
    path, x = DiscreteVp.linear(), torch.tensor([[0.4], [-1.3]], dtype=torch.float64)
    denoiser, t = TWO.denoiser(path), 600.0
    score = score_of(denoiser(x, t), x, path.alpha(t), path.sigma(t))
    beta = path.betas[600]
    by_hand = (2 - math.sqrt(1 - beta)) * x + beta * score
    noise = torch.randn((2, 1), generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    made = ReverseDiffusion()(denoiser, x, (t, t - 1), path, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(made, by_hand + math.sqrt(beta) * noise)
    ancestral = Ddpm(large_variance=True)(denoiser, x, (t, t - 1), path, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(ancestral, (x + beta * score) / math.sqrt(1 - beta) + math.sqrt(beta) * noise)


@pytest.mark.parametrize("make", [lambda: VeGeometric(sigma_min=1.0, sigma_max=0.5), lambda: VeGeometric(t_min=0.0),
                                  lambda: SubVp(beta_min=-1.0), lambda: LangevinCorrector(snr=0.0),
                                  lambda: AnnealedCorrector(steps=0)])  # fmt: skip
def test_wrong_values_are_refused(make):
    with pytest.raises(RequestError, match="must be"):
        make()


def test_wrong_plans_are_refused():
    with pytest.raises(RequestError, match="some signal left"):
        EulerMaruyama().plan((1.0, 0.5), RectifiedFlow())
    with pytest.raises(RequestError, match="strictly falling"):
        ReverseDiffusion().plan((0.5, 0.5), Vp())
