"""Time grids: their published formulas, their ends, and what they refuse."""

import math

import pytest

from bottega.errors import RequestError
from bottega.processes.diffusion import (
    CosineVp,
    DiscreteVp,
    Edm,
    EdmGrid,
    LeadingGrid,
    LinspaceGrid,
    LogSnrGrid,
    Path,
    RectifiedFlow,
    TrailingGrid,
    UniformGrid,
    Vp,
)

PATHS = [
    DiscreteVp.scaled_linear(),
    DiscreteVp.cosine(),
    Vp(),
    CosineVp(),
    Edm(),
    RectifiedFlow(t_min=1e-3, t_max=0.999),
]


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
@pytest.mark.parametrize("grid", [UniformGrid, EdmGrid, LogSnrGrid])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
def test_grids_fall_from_the_noisy_end_to_the_clean(path: Path, grid, steps: int):
    times = grid(steps)(path)
    assert len(times) == steps + 1
    assert times[0] == pytest.approx(path.t_max)
    assert times[-1] == path.t_clean
    assert all(one > other for one, other in zip(times, times[1:], strict=False))
    if grid is not UniformGrid and steps > 1:
        assert times[-2] == pytest.approx(path.t_min, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 3, 20, 999, 1000])
@pytest.mark.parametrize("grid", [LeadingGrid, LinspaceGrid, TrailingGrid])
def test_discrete_grids_visit_whole_indices(grid, steps: int):
    times = grid(steps)(DiscreteVp.linear())
    assert len(times) == steps + 1
    assert times[-1] == -1.0
    assert all(t == int(t) for t in times)
    assert all(one > other for one, other in zip(times, times[1:], strict=False))
    assert 0 <= times[-2] <= times[0] <= 999


def test_discrete_grids_are_the_published_ones():
    path = DiscreteVp.linear()
    assert LeadingGrid(4)(path) == (750, 500, 250, 0, -1)
    assert LeadingGrid(4, offset=1)(path) == (751, 501, 251, 1, -1)
    assert LinspaceGrid(4)(path) == (999, 666, 333, 0, -1)
    assert LinspaceGrid(4, last_index=False)(path) == (999, 749, 500, 250, -1)
    assert LinspaceGrid(3, whole=False)(path) == (999, 499.5, 0, -1)
    assert TrailingGrid(4)(path) == (999, 749, 499, 249, -1)
    assert UniformGrid(4)(path) == TrailingGrid(4)(path)


def test_shift_is_stable_diffusion_3_s():
    times = UniformGrid(4, shift=3.0)(RectifiedFlow())
    assert times == pytest.approx([3 * u / (1 + 2 * u) for u in (1, 0.75, 0.5, 0.25, 0)])


def test_edm_grid_is_the_paper_s():
    steps, rho = 18, 7
    low, high = 0.002 ** (1 / rho), 80 ** (1 / rho)
    expected = [(high + i / (steps - 1) * (low - high)) ** rho for i in range(steps)]
    assert EdmGrid(steps)(Edm())[:-1] == pytest.approx(expected)


def test_log_snr_grid_is_even():
    path = CosineVp()
    levels = [path.log_snr(t) for t in LogSnrGrid(9)(path)[:-1]]
    gaps = [b - a for a, b in zip(levels, levels[1:], strict=False)]
    assert gaps == pytest.approx([gaps[0]] * 8)


@pytest.mark.parametrize("make", [LeadingGrid, LinspaceGrid, TrailingGrid, UniformGrid, EdmGrid, LogSnrGrid])
def test_steps_start_at_one(make):
    with pytest.raises(RequestError, match="steps is 0"):
        make(0)


@pytest.mark.parametrize("grid", [LeadingGrid(1001), LinspaceGrid(1001), TrailingGrid(1001), LeadingGrid(10, 100)])
def test_grids_stay_inside_the_path(grid):
    with pytest.raises(RequestError, match="must be"):
        grid(DiscreteVp.linear())


def test_grids_name_the_path_that_they_need():
    with pytest.raises(RequestError, match="DiscreteVp"):
        TrailingGrid(10)(Vp())
    with pytest.raises(RequestError, match="t_min=1e-3"):
        EdmGrid(10)(RectifiedFlow())


@pytest.mark.parametrize("make", [lambda: EdmGrid(5, rho=0.0), lambda: UniformGrid(5, shift=math.inf)])
def test_impossible_grids_are_refused(make):
    with pytest.raises(RequestError, match="must be"):
        make()
