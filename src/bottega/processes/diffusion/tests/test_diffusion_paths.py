"""Noise paths: published schedules, inverses, ends, and the agreement of floats with tensors."""

import math

import diffusers
import pytest
import torch

from bottega.errors import RequestError
from bottega.processes.diffusion import CosineVp, DiscreteVp, Edm, Path, RectifiedFlow, Vp

PATHS = [
    DiscreteVp.linear(),
    DiscreteVp.scaled_linear(),
    DiscreteVp.cosine(),
    Vp(),
    CosineVp(),
    CosineVp(offset=0.0, t_max=0.999),
    Edm(),
    RectifiedFlow(),
]
every_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)


@pytest.mark.parametrize("steps", [50, 1000])
@pytest.mark.parametrize(
    ("path_of", "schedule", "ends"),
    [
        (DiscreteVp.linear, "linear", (1e-4, 0.02)),
        (DiscreteVp.scaled_linear, "scaled_linear", (0.00085, 0.012)),
        (DiscreteVp.cosine, "squaredcos_cap_v2", (1e-4, 0.02)),
    ],
)
def test_schedules_equal_the_peer(path_of, schedule: str, ends: tuple[float, float], steps: int):
    peer = diffusers.DDPMScheduler(
        num_train_timesteps=steps, beta_schedule=schedule, beta_start=ends[0], beta_end=ends[1]
    )
    path = path_of(steps)
    torch.testing.assert_close(torch.tensor(path.betas), peer.betas, rtol=0, atol=1e-7)
    alphas_cumprod = path.alpha(torch.arange(steps)) ** 2
    torch.testing.assert_close(alphas_cumprod.float(), peer.alphas_cumprod, rtol=0, atol=1e-6)


@every_path
def test_floats_and_tensors_agree_and_inverses_return(path: Path):
    times = path.training_time(torch.linspace(0.01, 0.99, 41, dtype=torch.float64))
    if isinstance(path, DiscreteVp):
        times = torch.cat([times, times[:-1] + 0.37, torch.tensor([-1.0, -0.4, 0.0, 999.0, 999.5, 1000.0])])
    for function in (path.alpha, path.sigma, path.log_snr, path.scale):
        values = function(times)
        assert values.dtype == torch.float64
        assert values.tolist() == pytest.approx([function(t) for t in times.tolist()], rel=1e-12, abs=1e-14)
    inner = times[(times >= path.t_min) & (times <= path.t_max)]
    log_snr = path.log_snr(inner)
    assert bool((log_snr[inner.argsort()].diff() < 0).all())
    torch.testing.assert_close(path.time_of_log_snr(log_snr), inner, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(path.alpha(inner) ** 2 / path.sigma(inner) ** 2, log_snr.exp(), rtol=1e-9, atol=0)
    for t in inner.tolist():
        assert path.time_of_log_snr(path.log_snr(t)) == pytest.approx(t, rel=1e-8, abs=1e-8)


@every_path
def test_the_clean_end_is_pure_data(path: Path):
    assert path.alpha(path.t_clean) == 1.0
    assert path.sigma(path.t_clean) == 0.0
    assert path.t_clean <= path.t_min < path.t_max


@every_path
def test_variance_is_preserved_where_it_says_so(path: Path):
    times = path.training_time(torch.linspace(0, 0.999, 20))
    power = path.alpha(times) ** 2 + path.sigma(times) ** 2
    preserved = isinstance(path, DiscreteVp | Vp | CosineVp)
    assert torch.allclose(power, torch.ones_like(power), atol=1e-12) == preserved


def test_pure_noise_lies_beyond_the_last_index():
    path = DiscreteVp.scaled_linear()
    assert path.alpha(999.0) > 0.06
    assert path.alpha(999.5) == path.alpha(999.0)
    assert (path.alpha(1000.0), path.sigma(1000.0)) == (0.0, 1.0)
    assert path.alpha(torch.tensor([999, 1000])).tolist() == [path.alpha(999.0), 0.0]
    assert path.log_snr(1000.0) == -math.inf


def test_zero_terminal_snr_is_allowed():
    path = DiscreteVp((0.1, 0.5, 1.0))
    assert (path.alpha(2.0), path.sigma(2.0)) == (0.0, 1.0)
    assert path.alpha(torch.tensor([1.0, 2.0])).tolist() == pytest.approx([math.sqrt(0.45), 0.0])


def test_vp_is_the_integral_of_its_beta():
    path = Vp(beta_min=0.3, beta_max=11.0)
    t = torch.linspace(0, 0.8, 20001, dtype=torch.float64)
    integral = torch.trapezoid(0.3 + t * 10.7, t)
    assert path.alpha(0.8) == pytest.approx(math.exp(-0.5 * integral.item()), rel=1e-9)


def test_cosine_paths_agree():
    continuous, discrete = CosineVp(), DiscreteVp.cosine(1000)
    for index in (0, 250, 700, 980):
        assert discrete.alpha(float(index)) == pytest.approx(continuous.alpha((index + 1) / 1000), rel=1e-9)


def test_training_times_cover_every_index_alike():
    path = DiscreteVp.linear(10)
    u = (torch.arange(1000) + 0.5) / 1000
    assert torch.bincount(path.training_time(u).long()).tolist() == [100] * 10


@pytest.mark.parametrize(
    "make",
    [
        lambda: DiscreteVp(()),
        lambda: DiscreteVp((0.1, 1.0, 0.2)),
        lambda: DiscreteVp((0.1, math.nan)),
        lambda: DiscreteVp((0.0,)),
        lambda: Vp(beta_min=3.0, beta_max=2.0),
        lambda: Vp(t_min=0.0),
        lambda: CosineVp(offset=-1.0),
        lambda: CosineVp(t_max=1.0),
        lambda: Edm(sigma_min=0.0),
        lambda: RectifiedFlow(t_min=0.5, t_max=0.5),
    ],
)
def test_impossible_paths_are_refused(make):
    with pytest.raises(RequestError, match="must be"):
        make()
