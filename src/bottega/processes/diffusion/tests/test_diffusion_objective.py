"""Predictions, weightings, time samplers and the loss: identities that hold exactly."""

import math

import pytest
import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion import (
    X0,
    Denoised,
    DiscreteVp,
    Edm,
    EdmPreconditioned,
    EdmTimes,
    EdmWeighting,
    Epsilon,
    LogitNormalTimes,
    MinSnr,
    Path,
    Prediction,
    RectifiedFlow,
    Score,
    TruncatedSnr,
    Uniform,
    UniformTimes,
    V,
    Velocity,
    Vp,
    corrupt,
    denoising_loss,
    diffusion_loss,
)

PREDICTIONS = [Epsilon(), X0(), V(), Velocity(), Score()]
PATHS = [DiscreteVp.scaled_linear(), Vp(), Edm(), RectifiedFlow()]
every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS, ids=repr)
every_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)


def draws(path: Path, count: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Data, noise and times inside the path, in double."""
    generator = torch.Generator().manual_seed(3)
    x0 = torch.randn(count, 3, 4, generator=generator, dtype=torch.float64)
    noise = torch.randn(count, 3, 4, generator=generator, dtype=torch.float64)
    return x0, noise, path.training_time(torch.linspace(0.1, 0.9, count))


def guess_x0(x: Tensor) -> Tensor:
    return torch.tanh(x.roll(1, -1) + 0.2 * x)


@every_prediction
@every_path
def test_the_right_output_gives_the_right_x0(path: Path, prediction: Prediction):
    x0, noise, t = draws(path)
    alpha, sigma = path.alpha(t).reshape(-1, 1, 1), path.sigma(t).reshape(-1, 1, 1)
    x_t = alpha * x0 + sigma * noise
    target = prediction.target(x0, noise, alpha, sigma)
    torch.testing.assert_close(prediction.to_x0(target, x_t, alpha, sigma), x0)
    torch.testing.assert_close(prediction.from_x0(x0, x_t, alpha, sigma), target)
    for i in range(len(t)):
        one = prediction.to_x0(target[i], x_t[i], float(alpha[i]), float(sigma[i]))
        torch.testing.assert_close(one, x0[i])
        torch.testing.assert_close(prediction.from_x0(x0[i], x_t[i], float(alpha[i]), float(sigma[i])), target[i])


def test_each_prediction_is_its_textbook_formula():
    x0, noise, alpha, sigma = (torch.tensor(value) for value in (2.0, -0.5, 0.8, 0.6))
    expected = {Epsilon: -0.5, X0: 2.0, V: 0.8 * -0.5 - 0.6 * 2.0, Velocity: -2.5, Score: 0.5 / 0.6}
    for kind, value in expected.items():
        assert kind().target(x0, noise, alpha, sigma).item() == pytest.approx(value)


@every_prediction
@every_path
def test_the_error_factor_is_the_ratio_of_errors(path: Path, prediction: Prediction):
    x0, noise, t = draws(path)
    alpha, sigma = path.alpha(t).reshape(-1, 1, 1), path.sigma(t).reshape(-1, 1, 1)
    x_t = alpha * x0 + sigma * noise
    guess = guess_x0(x_t)
    output_error = prediction.from_x0(guess, x_t, alpha, sigma) - prediction.target(x0, noise, alpha, sigma)
    ratio = output_error.square().mean((1, 2)) / (guess - x0).square().mean((1, 2))
    torch.testing.assert_close(ratio, prediction.error_factor(path.alpha(t), path.sigma(t)))


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_is_the_paper_s_table(gamma: float):
    path = DiscreteVp.scaled_linear()
    t = torch.arange(1000)
    alpha, sigma = path.alpha(t), path.sigma(t)
    table: dict[type, list[float]] = {Epsilon: [], X0: [], V: [], Velocity: []}
    alphas_cumprod = 1.0
    for index in range(1000):
        alphas_cumprod *= 1.0 - path.betas[index]
        snr = alphas_cumprod / (1.0 - alphas_cumprod)
        table[Epsilon].append(min(snr, gamma) / snr)
        table[X0].append(min(snr, gamma))
        table[V].append(min(snr, gamma) / (snr + 1.0))
        table[Velocity].append(min(snr, gamma) / (math.sqrt(snr) + 1.0) ** 2)
    for kind, weights in table.items():
        assert MinSnr(gamma)(alpha, sigma, kind()).tolist() == pytest.approx(weights, rel=1e-9)


@every_prediction
def test_min_snr_trains_pure_noise(prediction: Prediction):
    one, zero = torch.ones(1), torch.zeros(1)
    assert MinSnr()(zero, one, prediction).item() == 1.0


@pytest.mark.parametrize("weighting", [MinSnr(), TruncatedSnr(), EdmWeighting()], ids=repr)
@every_path
def test_losses_agree_whatever_the_network_says(path: Path, weighting):
    """The same guess of x0, spoken in five parameterisations, has the same loss."""
    x0, noise, t = draws(path)
    losses = []
    for prediction in PREDICTIONS:

        def network(x_t: Tensor, time: Tensor, cond: object, prediction: Prediction = prediction) -> Tensor:
            alpha, sigma = path.alpha(t).reshape(-1, 1, 1), path.sigma(t).reshape(-1, 1, 1)
            return prediction.from_x0(guess_x0(x_t), x_t, alpha, sigma)

        losses.append(denoising_loss(network, x0, t, noise, path=path, prediction=prediction, weighting=weighting))
    assert losses[0].shape == (6,)
    for loss in losses[1:]:
        torch.testing.assert_close(loss, losses[0], rtol=1e-6, atol=1e-9)


def test_uniform_weighs_the_output():
    path = Vp()
    x0, noise, t = draws(path)
    output = torch.full_like(x0, 0.3)
    for prediction in PREDICTIONS:
        loss = denoising_loss(
            lambda x, t, c: output, x0, t, noise, path=path, prediction=prediction, weighting=Uniform()
        )
        alpha, sigma = path.alpha(t).reshape(-1, 1, 1), path.sigma(t).reshape(-1, 1, 1)
        error = output - prediction.target(x0, noise, alpha, sigma)
        torch.testing.assert_close(loss, error.square().mean((1, 2)))


def test_edm_preconditioned_loss_is_the_raw_network_s_own():
    """With EDM's weighting every noise level weighs the raw network's error alike (c_out cancels)."""
    path = Edm()
    x0, noise, t = draws(path)
    raw = torch.nn.Linear(4, 4).double()
    preconditioned = EdmPreconditioned(raw_with_time(raw), sigma_data=0.7)
    loss = denoising_loss(
        preconditioned, x0, t, noise, path=path, prediction=X0(), weighting=EdmWeighting(sigma_data=0.7)
    )
    sigma = t.reshape(-1, 1, 1)
    power = sigma**2 + 0.7**2
    x_t = x0 + sigma * noise
    target = (x0 - 0.7**2 / power * x_t) / (sigma * 0.7 / power.sqrt())
    expected = (raw(x_t / power.sqrt()) - target).square().mean((1, 2))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-7)


def raw_with_time(layer: torch.nn.Module) -> torch.nn.Module:
    class Raw(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor, c_noise: Tensor, cond: object) -> Tensor:
            assert c_noise.shape == (x.shape[0],)
            return self.layer(x)

    return Raw()


def test_the_loss_of_a_batch_is_that_of_its_draws():
    path, x0 = DiscreteVp.linear(), torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []

    def network(x_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        seen.extend([x_t, t, cond])
        return torch.zeros_like(x_t)

    settings = {"path": path, "prediction": Epsilon(), "weighting": MinSnr()}
    cond = torch.arange(8)
    generator = torch.Generator().manual_seed(4)
    loss = diffusion_loss(network, x0, cond, times=UniformTimes(), generator=generator, **settings)
    generator.manual_seed(4)
    t = UniformTimes()(8, path, generator)
    noise = torch.randn(8, 5, generator=generator)
    x_t, given_t, given_cond = seen
    assert torch.equal(x_t, corrupt(x0, t, noise, path))
    assert torch.equal(given_t, t.float())
    assert torch.equal(given_cond, cond)
    torch.testing.assert_close(loss, denoising_loss(network, x0, t, noise, cond, **settings))
    assert loss.dtype == torch.float32


def test_losses_of_half_precision_are_computed_in_float32():
    path = RectifiedFlow()
    x0, noise, t = draws(path)
    full = denoising_loss(
        lambda x, t, c: guess_x0(x), x0, t, noise, path=path, prediction=Velocity(), weighting=Uniform()
    )
    half = denoising_loss(
        lambda x, t, c: guess_x0(x),
        x0.bfloat16(),
        t,
        noise.bfloat16(),
        path=path,
        prediction=Velocity(),
        weighting=Uniform(),
    )
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.double(), full, rtol=0.02, atol=0.02)


def test_denoised_takes_floats_and_tensors_alike():
    for path in PATHS:
        denoiser = Denoised(lambda x, t, c: torch.sin(x) + t[:, None, None] / 100, path, V())
        x, _, t = draws(path)
        together = denoiser(x, t)
        for i in range(len(t)):
            torch.testing.assert_close(denoiser(x[i : i + 1], float(t[i])), together[i : i + 1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("prediction", [Epsilon(), Score()], ids=repr)
def test_noise_alone_does_not_tell_x0(prediction: Prediction):
    denoiser = Denoised(lambda x, t, c: x, DiscreteVp.linear(), prediction)
    with pytest.raises(RequestError, match="pure noise needs"):
        denoiser(torch.ones(1, 2), 1000.0)


@pytest.mark.parametrize("stratified", [False, True])
def test_time_samplers_have_their_distributions(stratified: bool):
    generator = torch.Generator().manual_seed(0)
    flow = RectifiedFlow()
    uniform = UniformTimes(stratified=stratified)(20000, flow, generator)
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.01)
    assert uniform.std().item() == pytest.approx(12**-0.5, abs=0.01)
    middle = LogitNormalTimes(mean=0.5, std=0.8, stratified=stratified)(20000, flow, generator)
    assert torch.logit(middle).mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.logit(middle).std().item() == pytest.approx(0.8, abs=0.02)
    for path in (Edm(), Vp()):
        t = EdmTimes(stratified=stratified)(20000, path, generator)
        log_level = -0.5 * path.log_snr(t)
        assert log_level.mean().item() == pytest.approx(-1.2, abs=0.03)
        assert log_level.std().item() == pytest.approx(1.2, abs=0.03)


def test_stratified_times_have_one_draw_in_each_stratum():
    t = UniformTimes(stratified=True)(100, DiscreteVp.linear(100), torch.Generator().manual_seed(3))
    assert sorted(t.tolist()) == [float(i) for i in range(100)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: MinSnr(0.0),
        lambda: TruncatedSnr(-1.0),
        lambda: EdmWeighting(math.nan),
        lambda: LogitNormalTimes(std=0.0),
        lambda: EdmTimes(mean=math.inf),
        lambda: EdmPreconditioned(torch.nn.Identity(), sigma_data=0.0),
    ],
)
def test_impossible_settings_of_training_are_refused(make):
    with pytest.raises(RequestError, match="must be"):
        make()
