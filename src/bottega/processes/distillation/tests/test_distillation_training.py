"""Small students of an exact teacher: each method does what it is for.

The data are a Gaussian, so that all maps between noise levels are affine, and a student is a table of one affine map
for each time of the grid: it can be exactly right, and learns in a second.
"""

import copy

import pytest
import torch

from bottega.processes.diffusion import X0, Ddim, Denoised, GaussianMixture, Vp, corrupt
from bottega.processes.distillation import (
    Brightness,
    ConsistencyFunction,
    ConsistencySampler,
    DdimSteps,
    Pair,
    TrajectoryPool,
    consistency_loss,
    consistency_residual,
    even_times,
    matching_loss,
    progressive_target,
    segment_ends,
    spread_times,
    training_pair,
)

PATH, STEPS, BATCH, MEAN, STD = Vp(), 12, 256, (1.0, -0.5), 0.4
DATA = GaussianMixture.isotropic([1.0], [list(MEAN)], [STD])
TEACHER = DATA.denoiser(PATH)
GRID = torch.tensor(even_times(PATH, STEPS), dtype=torch.float64)


class Table(torch.nn.Module):
    """x0 as an affine function of the state, one for each time of the grid."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.zeros(STEPS + 1, 2))
        self.shift = torch.nn.Parameter(torch.zeros(STEPS + 1, 2))

    def forward(self, x, t, cond=None):
        place = (GRID[None] - t[:, None].double()).abs().argmin(1)
        return self.gain[place] * x.float() + self.shift[place]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def function(network):
    return ConsistencyFunction(Denoised(network, PATH, X0()), PATH)


def trajectories(seed=99, count=256):
    """Held-out noise, and the teacher's states at all times of the grid."""
    states = [torch.randn(count, 2, generator=seeded(seed), dtype=torch.float64)]
    for t, s in zip(GRID[:-1], GRID[1:], strict=True):
        states.append(DdimSteps()(TEACHER, states[-1], t.expand(count), s.expand(count), PATH))
    return states


def residual(of, segments):
    times = GRID.tolist()
    with torch.no_grad():
        return consistency_residual(of, trajectories(), times, segment_ends(times, segments), PATH).mean().item()


def run(network, updates, loss_of, decay=0.5, rate=0.05):
    """Trains with a falling rate and a target that follows."""
    target, optimizer = copy.deepcopy(network), torch.optim.Adam(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for update in range(updates):
        optimizer.zero_grad()
        loss_of(update, target).mean().backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for mine, theirs in zip(target.parameters(), network.parameters(), strict=True):
                mine.lerp_(theirs, 1 - decay)
    return network


def far(points, others):
    return (points - others).square().sum(1).sqrt().mean().item()


@pytest.fixture(scope="module")
def students():
    """Trained without data: in one segment, and in four after twelve and six."""
    return {rounds: without_data(rounds) for rounds in ((1,), (12, 6, 4))}


def without_data(rounds, updates=400):
    network, generator = Table(), seeded(1)
    pool = TrajectoryPool(torch.randn(2 * BATCH, 2, generator=generator), None, torch.ones(2 * BATCH), STEPS)
    ends = [torch.tensor(segment_ends(GRID.tolist(), count), dtype=torch.float64) for count in rounds]

    def loss_of(update, target):
        visit = pool.visit(update, BATCH)
        t, s = GRID[visit.place], GRID[visit.place + 1]
        ahead = DdimSteps()(TEACHER, visit.x, t, s, PATH)
        pool.move(visit, ahead, visit.place + 1, torch.randn(BATCH, 2, generator=generator), None, visit.scale)
        end = ends[update * len(rounds) // updates][visit.place]
        pair = Pair(x=visit.x, t=t, next_x=ahead.float(), next_t=s, end=end)
        return consistency_loss(function(network), function(target), pair, PATH)

    return run(network, updates, loss_of)


@pytest.mark.parametrize("rounds", [(1,), (12, 6, 4)])
def test_consistency_grows_on_held_out_trajectories(students, rounds):
    student, copied = function(students[rounds]), ConsistencyFunction(TEACHER, PATH)
    assert residual(student, rounds[-1]) < 0.1 * residual(copied, rounds[-1])


@pytest.mark.parametrize("rounds", [(1,), (12, 6, 4)])
def test_students_reach_what_the_teacher_reaches_in_many_steps(students, rounds):
    states, times = trajectories(), spread_times(GRID.tolist(), rounds[-1])
    with torch.no_grad():
        student = Ddim()(function(students[rounds]), states[0].float(), times, PATH)
    assert far(student, states[-1]) < 0.25 * far(Ddim()(TEACHER, states[0], times, PATH), states[-1])


def test_consistency_training_needs_no_teacher():
    network, generator = Table(), seeded(1)

    def loss_of(update, target):
        x0, noise = DATA.sample(BATCH, generator).float(), torch.randn(BATCH, 2, generator=generator)
        place = torch.randint(STEPS, (BATCH,), generator=generator)
        return consistency_loss(
            function(network), function(target), training_pair(x0, noise, GRID[place], GRID[place + 1], PATH), PATH
        )

    run(network, 400, loss_of)
    start, few = torch.randn(2000, 2, generator=seeded(7)), spread_times(GRID.tolist(), 4)
    with torch.no_grad():
        made = ConsistencySampler()(function(network), start, few, PATH, generator=seeded(8))
    torch.testing.assert_close(made.mean(0), torch.tensor(MEAN), rtol=0, atol=0.05)
    torch.testing.assert_close(made.std(0), torch.tensor([STD, STD]), rtol=0.3, atol=0)


def test_progressive_round_halves_the_steps():
    network, generator, times = Table(), seeded(1), GRID[::3]

    def loss_of(update, target):
        x0, noise = DATA.sample(BATCH, generator), torch.randn(BATCH, 2, generator=generator, dtype=torch.float64)
        place = torch.randint(4, (BATCH,), generator=generator)
        t, end = times[place], times[place + 1]
        x = corrupt(x0, t, noise, PATH)
        goal = progressive_target(TEACHER, x, t, end, PATH)
        return matching_loss(Denoised(network, PATH, X0()), goal, x, t, path=PATH)

    run(network, 250, loss_of)
    start = torch.randn(500, 2, generator=seeded(7), dtype=torch.float64)
    eight, four = (Ddim()(TEACHER, start, even_times(PATH, count), PATH) for count in (8, 4))
    with torch.no_grad():
        student = Ddim()(Denoised(network, PATH, X0()), start.float(), even_times(PATH, 4), PATH)
    assert far(student, eight) < 0.1 * far(four, eight)


def test_reward_rises_and_likeness_stays(students):
    student, plain, generator = copy.deepcopy(students[(1,)]), function(students[(1,)]), seeded(2)
    one, brightness = torch.ones(BATCH, dtype=torch.float64), Brightness()

    def loss_of(update, target):
        noise = torch.randn(BATCH, 2, generator=generator)
        with torch.no_grad():
            goal = plain(noise, one)
        made = function(student)(noise, one)
        return (made - goal).square().mean(1) - 0.2 * brightness(made[:, :, None, None])

    run(student, 100, loss_of)
    start = torch.randn(512, 2, generator=seeded(7))
    with torch.no_grad():
        before, after = (part(start, 1.0) for part in (plain, function(student)))
    rise = (after - before).mean().item()
    assert rise == pytest.approx(0.1, abs=0.02)  # half the weight, where the derivative of the sum is 0
    assert far(after, before) < 0.2
