"""Editing on the way: what is known stays, what is free follows the conditional; SDEdit goes from guide to data."""

from __future__ import annotations

import pytest
import torch

from bottega.errors import RequestError
from bottega.processes.diffusion import (
    Ddim,
    Ddpm,
    DpmSolverPp2m,
    Edited,
    Edm,
    EdmGrid,
    Euler,
    GaussianMixture,
    Heun,
    LogSnrGrid,
    Mask,
    Matrix,
    MergedKnown,
    RectifiedFlow,
    Reimposed,
    Sdedit,
    UniformGrid,
    Vp,
    initial_noise,
    late,
)

DOUBLE = torch.float64
PATHS = {"vp": Vp(), "edm": Edm(sigma_max=20.0), "flow": RectifiedFlow(t_min=1e-3, t_max=0.999)}
SOLVERS = {"ddim": Ddim(), "ddpm": Ddpm(), "euler": Euler(), "heun": Heun(), "dpm": DpmSolverPp2m()}


def gaussian():
    covariance = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=DOUBLE)
    return GaussianMixture(
        weights=torch.ones(1, dtype=DOUBLE), means=torch.zeros(1, 2, dtype=DOUBLE), covariances=covariance[None]
    )


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(solver, path, count=3000, steps=40, data=None):
    times = LogSnrGrid(steps)(path)
    start = initial_noise((count, 2), times[0], path, generator=generator(), dtype=DOUBLE)
    denoiser = (data or gaussian()).denoiser(path)
    return solver(denoiser, start, times, path, generator=generator(1))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("path", PATHS)
def test_reimposed_pixels_are_exact_and_the_rest_follows(path, solver):
    """Of x = (1.5, ?) with correlation 0.9 the free half should be near 1.35; without edits it is near 0."""
    known = torch.tensor([1.0, 0.0], dtype=DOUBLE)
    edit = Reimposed(guide=torch.tensor([[1.5, 9.0]], dtype=DOUBLE), known=known)
    made = drawn(Edited(solver=SOLVERS[solver], edit=edit), PATHS[path], count=1500)
    assert (made[:, 0] == 1.5).all()
    assert made[:, 1].mean() > 0.5


def test_resampling_brings_the_free_part_to_the_conditional():
    edit = Reimposed(guide=torch.tensor([[1.5, 0.0]], dtype=DOUBLE), known=torch.tensor([1.0, 0.0], dtype=DOUBLE))
    once, often = (drawn(Edited(solver=Ddpm(), edit=edit, resample=count), Vp(), steps=30)[:, 1] for count in (1, 8))
    assert abs(often.mean() - 1.35) < 0.05 < abs(once.mean() - 1.35)
    assert abs(often.std() - 0.19**0.5) < 0.06


@pytest.mark.parametrize("path", PATHS)
def test_merged_known_measures_what_was_measured(path):
    """Also for rows that are not orthonormal; with a mask it is the same as re-imposing, noise for noise."""
    operator = Matrix(torch.tensor([[2.0, 1.0]], dtype=DOUBLE))
    merged = MergedKnown(operator=operator, measured=torch.tensor([[3.0]], dtype=DOUBLE))
    made = drawn(Edited(solver=Ddim(), edit=merged), PATHS[path], count=500)
    torch.testing.assert_close(operator.forward(made), torch.full((500, 1), 3.0, dtype=DOUBLE))
    known = torch.tensor([1.0, 0.0], dtype=DOUBLE)
    guide = torch.tensor([[1.5, 0.0]], dtype=DOUBLE)
    masked = MergedKnown(operator=Mask(known), measured=guide)
    both = [
        drawn(Edited(solver=Ddim(), edit=edit), PATHS[path], count=50)
        for edit in (masked, Reimposed(guide=guide, known=known))
    ]
    torch.testing.assert_close(*both)


def test_a_mix_of_zero_changes_nothing():
    edit = MergedKnown(operator=Mask(torch.ones(2)), measured=torch.ones(1, 2, dtype=DOUBLE), mix=0.0)
    torch.testing.assert_close(drawn(Edited(solver=Heun(), edit=edit), Vp(), count=20), drawn(Heun(), Vp(), count=20))


@pytest.mark.parametrize("path", PATHS)
def test_sdedit_trades_the_guide_for_the_data(path):
    """Two modes at (5, 5) and (-5, -5), a guide at (2, 2): more noise, farther from the guide, nearer to the data."""
    way, data = PATHS[path], GaussianMixture.two_modes()
    guide = torch.full((800, 2), 2.0, dtype=DOUBLE)
    times = EdmGrid(30)(way) if path == "edm" else UniformGrid(30)(way)
    faithful, realistic = [], []
    for strength in (0.1, 0.2, 0.4, 1.0):
        made = Sdedit(solver=Ddpm(), strength=strength)(data.denoiser(way), guide, times, way, generator=generator())
        faithful.append(float((made - guide).norm(dim=1).mean()))
        realistic.append(float(data.log_prob(made).mean()))
    assert faithful == sorted(faithful)
    assert realistic[:3] == sorted(realistic[:3])
    assert realistic[2] < realistic[3] + 0.1
    assert float((made[:, 0] < 0).double().mean()) > 0.1, "at full strength the guide still decides the mode"


def test_sdedit_keeps_what_the_mask_says_and_counts_its_steps():
    known = torch.tensor([1.0, 0.0], dtype=DOUBLE)
    seen = []
    made = Sdedit(solver=Ddim(), strength=0.5, repeats=3, known=known)(
        gaussian().denoiser(Vp()), torch.ones(4, 2, dtype=DOUBLE), UniformGrid(10)(Vp()), Vp(),
        generator=generator(), report=lambda step, total, x, x0: seen.append((step, total)),
    )  # fmt: skip
    assert (made[:, 0] == 1.0).all()
    assert (made[:, 1] != 1.0).all()
    assert seen == [(step, 15) for step in range(1, 16)]


def test_late_times_end_where_the_grid_ends():
    times = (5.0, 4.0, 3.0, 2.0, 1.0, 0.0)
    assert late(times, 1.0) == times
    assert late(times, 0.4) == (2.0, 1.0, 0.0)
    assert late(times, 0.01) == (1.0, 0.0)


def test_wrong_numbers_are_named():
    with pytest.raises(RequestError, match="strength is 0"):
        Sdedit(solver=Ddim(), strength=0)
    with pytest.raises(RequestError, match="repeats"):
        Sdedit(solver=Ddim(), repeats=0)
    edit = Reimposed(guide=torch.zeros(1, 2), known=torch.ones(2))
    with pytest.raises(RequestError, match="resample"):
        Edited(solver=Ddim(), edit=edit, resample=0)
    with pytest.raises(RequestError, match="mix"):
        MergedKnown(operator=Mask(torch.ones(2)), measured=torch.ones(2), mix=1.5)
