"""The room on a small analytic model: solvers by name, calls, comparison, chart, and evaluation."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bottega import catalog
from bottega.errors import Cancelled, RequestError, WeightsError
from bottega.processes.diffusion import X0, DiscreteVp, ParaDigms, Path, Prior, RectifiedFlow, Vp
from bottega.room import Progress, silent
from bottega.systems.diffusion.fast_sampling.config import FastSamplingConfig
from bottega.systems.diffusion.fast_sampling.inference import FastSamplingRequest, Mode, infer
from bottega.systems.diffusion.fast_sampling.model import FastSampling
from bottega.systems.diffusion.fast_sampling.sampling import (
    NOISY,
    GridName,
    SolverName,
    SolverSettings,
    count_calls,
    grid_of_calls,
    solver_of,
)

WORDS = {"red": (0.8, -0.6, -0.6), "blue": (-0.6, -0.6, 0.8)}


class Blots(nn.Module):
    """The exact denoiser of Gaussian pictures about a colour."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.std = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        alpha, sigma = (c.float().reshape(-1, 1, 1, 1) for c in (self.path.alpha(t), self.path.sigma(t)))
        mean = cond[..., None, None]
        gain = alpha * self.std**2 / ((alpha * self.std) ** 2 + sigma**2)
        return mean + gain * (x - alpha * mean)


def prior_of(path: Path) -> Prior:
    def condition(inputs) -> Tensor:
        unknown = [text for text in inputs if text not in WORDS]
        if unknown:
            raise RequestError.of("the colour", unknown[0], "red or blue")
        return torch.tensor([WORDS[text] for text in inputs])

    return Prior(
        network=Blots(path), path=path, prediction=X0(), shape=(3, 8, 8), size=8, condition=condition,
        to_pictures=lambda states: states, from_pictures=lambda pictures: pictures,
        null_cond=torch.zeros(1, 3), input_of=lambda sample: "red" if "a" in sample.caption else "blue",
    )  # fmt: skip


@pytest.fixture
def room() -> FastSampling:
    model = FastSampling(FastSamplingConfig())
    model.connect({"prior": prior_of(Vp())})
    return model


def test_there_are_no_parameters():
    assert list(FastSampling(FastSamplingConfig()).state_dict()) == []
    assert all(preset.parameters == 0 for preset in catalog.get("fast_sampling").presets.values())


def test_without_a_model_it_says_what_to_do():
    with pytest.raises(WeightsError, match="uvit"):
        infer(FastSampling(FastSamplingConfig()), FastSamplingRequest(), silent)


@pytest.mark.parametrize("name", SolverName, ids=lambda name: name.value)
def test_every_solver_draws_what_is_asked(room: FastSampling, name: SolverName):
    """Red stays red: mean colours of the pictures within the guided model's, which pulls twice as far."""
    request = FastSamplingRequest(inputs=("red", "blue"), solver=name, steps=16, count=2, guidance=1.0)
    result = infer(room, request, silent)
    assert result.pictures.shape == (4, 8, 8, 3)
    assert result.captions is not None
    assert result.captions[0].startswith("red: ")
    colours = result.pictures.astype(float).mean((1, 2)) / 127.5 - 1
    wanted = np.array([WORDS[word] for word in ("red", "red", "blue", "blue")])
    assert np.abs(colours - wanted).max() < 0.2
    again = infer(room, request, silent)
    assert np.array_equal(result.pictures, again.pictures)
    assert result.settings["passes"] <= 16


@pytest.mark.parametrize("path", [Vp(), DiscreteVp.scaled_linear(), RectifiedFlow()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("calls", [1, 2, 7, 20])
def test_no_solver_takes_more_calls_than_asked(path: Path, calls: int):
    for name in SolverName:
        sampler = solver_of(name, SolverSettings())
        times = grid_of_calls(sampler, calls, path, GridName.TIME)
        solver = sampler.solver if isinstance(sampler, ParaDigms) else sampler
        assert count_calls(solver, times, path) <= calls
        assert times[-1] == path.t_clean


def test_items_keep_their_noise_whatever_is_drawn_with_them(room: FastSampling):
    alone, among = (infer(room, FastSamplingRequest(inputs=("red",), count=count, seed=3), silent) for count in (1, 3))
    assert np.abs(alone.pictures[0].astype(int) - among.pictures[0]).max() <= 1


def test_all_solvers_side_by_side(room: FastSampling):
    result = infer(room, FastSamplingRequest(inputs=("blue",), mode=Mode.COMPARE, steps=12), silent)
    assert result.captions is not None
    assert [caption.split(":")[0] for caption in result.captions] == [*(n.value for n in SolverName), "fine trajectory"]
    fine = result.pictures[-1].astype(float)
    for name, picture in zip(SolverName, result.pictures, strict=False):
        if name not in NOISY:
            assert np.abs(picture - fine).mean() < 25, name


def test_the_chart_is_a_picture(room: FastSampling):
    seen: list[Progress] = []
    result = infer(room, FastSamplingRequest(inputs=("red",), mode=Mode.CHART), seen.append)
    assert result.pictures.ndim == 4
    assert len(np.unique(result.pictures.reshape(-1, 3), axis=0)) > 20
    assert any(progress.stage == "unipc, 24 calls" for progress in seen)


def test_paradigms_says_its_passes(room: FastSampling):
    request = FastSamplingRequest(inputs=("red",), solver=SolverName.PARADIGMS, steps=40, window=20)
    result = infer(room, request, silent)
    assert result.settings["steps"] == 40
    assert result.settings["passes"] < 20 < result.settings["evaluations"]
    exact = infer(room, FastSamplingRequest(inputs=("red",), solver=SolverName.DDIM, steps=40), silent)
    assert np.abs(result.pictures.astype(int) - exact.pictures).max() <= 3


def test_work_can_be_stopped_and_previewed(room: FastSampling):
    def stop(progress: Progress) -> None:
        assert progress.preview is not None
        assert progress.preview().shape == (8, 8, 3)
        if progress.step == 3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        infer(room, FastSamplingRequest(), stop)


def test_evaluation_measures_every_solver(room: FastSampling):
    found = catalog.get("fast_sampling").evaluate
    assert found is not None
    measures = found(room, 0, 6, silent)
    for name, calls in itertools.product(SolverName, (5, 10, 20)):
        label = f"{name.value}, {calls} calls"
        assert any(key.startswith(f"{label}: kernel distance") for key in measures)
        assert (f"{label}: distance to the fine trajectory" in measures) == (name not in NOISY)
    best = measures["dpm++2m, 20 calls: distance to the fine trajectory"]
    assert best.baseline is not None
    assert best.control is not None
    assert best.value < best.baseline < best.control
    passes = measures["paradigms, 50 steps, window 16: passes"]
    assert passes.baseline == 50
    assert passes.value < 25


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0), ("eta", 1.5), ("churn", -1.0), ("window", 0), ("tolerance", 2.0), ("count", 0), ("guidance", 60.0)],
)
def test_impossible_requests_are_refused(field: str, value: float):
    with pytest.raises(RequestError, match=field):
        FastSamplingRequest(**{field: value})


def test_unknown_inputs_are_refused(room: FastSampling):
    with pytest.raises(RequestError, match="green"):
        infer(room, FastSamplingRequest(inputs=("green",)), silent)
