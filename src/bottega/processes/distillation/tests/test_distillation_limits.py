"""Exact properties of the distillation losses, functions and samplers: no training, float precision."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from diffusers import LatentConsistencyModelPipeline, LCMScheduler

from bottega.errors import RequestError
from bottega.processes.diffusion import (
    X0,
    Ddim,
    Denoised,
    DiscreteVp,
    Edm,
    EdmPreconditioned,
    Epsilon,
    GaussianMixture,
    Heun,
    Prior,
    RectifiedFlow,
    Score,
    UniformGrid,
    V,
    Velocity,
    Vp,
)
from bottega.processes.distillation import (
    Brightness,
    Colourfulness,
    ConsistencyFunction,
    ConsistencySampler,
    DdimSteps,
    GrowingSteps,
    GuidanceRange,
    HeunSteps,
    KarrasBoundary,
    LcmBoundary,
    LcmGrid,
    Measured,
    Pair,
    PlainBoundary,
    PseudoHuber,
    Squared,
    Student,
    TrajectoryPool,
    consistency_loss,
    consistency_residual,
    ddim_jump,
    even_times,
    guidance_embedding,
    halvings,
    implied_x0,
    matching_loss,
    progressive_target,
    segment_end,
    segment_ends,
    student_denoiser,
    teacher_of,
    training_pair,
)

PATHS = [DiscreteVp.scaled_linear(), Vp(), Edm(), RectifiedFlow(t_min=1e-3, t_max=0.999)]
PREDICTIONS = [Epsilon(), X0(), V(), Velocity(), Score()]
BOUNDARIES = [KarrasBoundary(), KarrasBoundary(epsilon=0.0), LcmBoundary(), PlainBoundary()]
MIXTURE = GaussianMixture.isotropic([0.5, 0.3, 0.2], [[1.0, 0.0], [-1.0, 0.5], [0.0, -1.2]], [0.2, 0.3, 0.25])


class Net(torch.nn.Module):
    """A random network of vectors that takes a class, or None, as its condition."""

    def __init__(self, dim=2, width=16, classes=4):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(dim + 1, width), torch.nn.SiLU(), torch.nn.Linear(width, dim))
        self.classes = torch.nn.Embedding(classes, dim)

    def forward(self, x, t, cond=None):
        out = self.layers(torch.cat([x, torch.sin(t.to(x))[:, None]], 1))
        return out if cond is None else out + self.classes(cond)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def net(seed=0):
    torch.manual_seed(seed)
    return Net().double()


def prior(network):
    return Prior(
        network=network, path=PATHS[1], prediction=V(), shape=(2,), to_pictures=lambda x: x,
        from_pictures=lambda x: x, size=1, condition=lambda texts: torch.tensor([int(text) for text in texts]),
        null_cond=torch.tensor([3]),
    )  # fmt: skip


def filled(value, count=5):
    return torch.full((count,), float(value), dtype=torch.float64)


# ------------------------------------------------------------------------------------------------ consistency functions
@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("boundary", BOUNDARIES, ids=str)
def test_identity_on_clean_data(path, prediction, boundary):
    x = torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    function = ConsistencyFunction(Denoised(net(), path, prediction), path, boundary)
    for time in (path.t_clean, filled(path.t_clean)):
        if isinstance(prediction, Epsilon | X0 | V | Velocity | Score):
            assert torch.equal(function(x, time), x)
    noisy = function(x, 0.5 * path.t_max)
    assert not torch.allclose(noisy, x)


def test_karras_boundary_is_the_published_function_of_the_raw_network():
    raw, data, epsilon = net(), 0.5, 0.002
    path = Edm()
    model = EdmPreconditioned(raw, data)
    function = ConsistencyFunction(Denoised(model, path, X0()), path, KarrasBoundary(data, epsilon))
    x = torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    s = torch.tensor([0.002, 0.01, 0.5, 3.0, 80.0], dtype=torch.float64)
    f = raw(x / (s**2 + data**2).sqrt()[:, None], s.float().log() / 4)
    skip = data**2 / ((s - epsilon) ** 2 + data**2)
    out = data * (s - epsilon) / (s**2 + data**2).sqrt()
    torch.testing.assert_close(function(x, s), skip[:, None] * x + out[:, None] * f, rtol=1e-5, atol=1e-6)
    assert torch.equal(function(x, s)[0], x[0])
    assert torch.equal(function(x, 0.0), x)  # where EDM's network is told log(0)


def test_boundaries_are_near_the_denoiser_far_from_data():
    for path in PATHS:
        for boundary in BOUNDARIES:
            skip, out = boundary(filled(0.9 * path.t_max, 1), path)
            assert abs(skip.item()) < 2e-3
            assert out.item() == pytest.approx(1.0, abs=5e-3)


# -------------------------------------------------------------------------------------------------------------- LCM
@pytest.mark.parametrize(("kind", "prediction"), [("epsilon", Epsilon()), ("v_prediction", V()), ("sample", X0())])
@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_lcm_equals_diffusers_step_by_step(kind, prediction, steps):
    network, path = net(), PATHS[0]
    theirs = LCMScheduler(prediction_type=kind)
    theirs.set_timesteps(steps)
    times = LcmGrid(steps)(path)
    assert times[:-1] == tuple(float(t) for t in theirs.timesteps)
    function = ConsistencyFunction(Denoised(network, path, prediction), path, LcmBoundary())
    start = torch.randn(3, 2, generator=seeded(), dtype=torch.float64)
    noises = torch.randn(steps, 3, 2, generator=seeded(1), dtype=torch.float64)
    ours = []
    plan = ConsistencySampler().plan(times, path)
    x, draws = start, iter(noises)
    for step in plan:
        x, _ = step.take(x, x, function, lambda state: next(draws))
        ours.append(x)
    y = start
    with torch.no_grad():
        for number, t in enumerate(theirs.timesteps):
            output = network(y, t[None].expand(3).float())
            generator = Fixed(noises[number])
            y = step_with_noise(theirs, output, t, y, generator)
            torch.testing.assert_close(ours[number], y, rtol=1e-5, atol=1e-5)


@dataclasses.dataclass
class Fixed:
    noise: torch.Tensor


def step_with_noise(scheduler, output, t, y, fixed):
    """diffusers draws its own noise; what it drew is taken out and the given noise put in."""
    generator = seeded(5)
    last = scheduler.step_index is not None and scheduler.step_index == scheduler.num_inference_steps - 1
    last = last or scheduler.num_inference_steps == 1
    made = scheduler.step(output, t, y, generator=generator, return_dict=False)[0]
    if last:
        return made
    drawn = torch.randn(output.shape, generator=seeded(5), dtype=torch.float64)
    later = scheduler.timesteps[scheduler.step_index]
    sigma = (1 - scheduler.alphas_cumprod[later]).sqrt()
    return made + sigma * (fixed.noise - drawn)


def test_guidance_embedding_equals_diffusers():
    scale = torch.tensor([1.0, 2.5, 8.0, 14.0])
    theirs = LatentConsistencyModelPipeline.get_guidance_scale_embedding(None, scale - 1, embedding_dim=256)
    torch.testing.assert_close(guidance_embedding(scale), theirs, rtol=1e-5, atol=2e-3)  # sines of up to 13,000 radians


# ------------------------------------------------------------------------------------------------------------- steps
@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
def test_steps_equal_the_solvers(path):
    teacher = MIXTURE.denoiser(path)
    x = path.sigma(path.t_max) * torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    for s in (0.4 * path.t_max, path.t_clean):
        t = 0.8 * path.t_max
        ours = DdimSteps()(teacher, x, filled(t), filled(s), path)
        torch.testing.assert_close(ours, Ddim()(teacher, x, (t, s), path), rtol=1e-9, atol=1e-9)
        second = HeunSteps()(teacher, x, filled(t), filled(s), path)
        torch.testing.assert_close(second, Heun()(teacher, x, (t, s), path), rtol=1e-9, atol=1e-9)


def test_implied_x0_inverts_the_jump():
    path = PATHS[1]
    x, x0 = torch.randn(2, 5, 2, generator=seeded(), dtype=torch.float64)
    t, s = filled(0.9), torch.tensor([0.8, 0.5, 0.2, 0.01, 0.0], dtype=torch.float64)
    torch.testing.assert_close(implied_x0(x, ddim_jump(x, x0, t, s, path), t, s, path), x0)
    assert torch.equal(ddim_jump(x, x0, s, s, path), x)


# ------------------------------------------------------------------------------------------------------ progressive
def test_progressive_target_is_two_teacher_steps_in_one():
    path, teacher = PATHS[1], MIXTURE.denoiser(PATHS[1])
    x, t, end = torch.randn(5, 2, generator=seeded(), dtype=torch.float64), filled(0.8), filled(0.4)
    target = progressive_target(teacher, x, t, end, path)
    two = Ddim()(teacher, x, (0.8, 0.6, 0.4), path)
    torch.testing.assert_close(ddim_jump(x, target, t, end, path), two)
    ratio = path.sigma(0.4) / path.sigma(0.8)
    torch.testing.assert_close(target, (two - ratio * x) / (path.alpha(0.4) - ratio * path.alpha(0.8)))
    # a student that is the target is right; one that starts as its teacher is wrong by what two steps differ from one
    exact = matching_loss(lambda *_: target, target, x, t, path=path)
    assert exact.abs().max() == 0
    snr = (path.alpha(0.8) / path.sigma(0.8)) ** 2
    started = matching_loss(teacher, target, x, t, path=path)
    expected = max(snr, 1.0) * (teacher(x, t) - target).square().mean(1)
    torch.testing.assert_close(started, expected)
    assert started.min() > 0


def test_a_constant_teacher_is_its_own_progressive_student():
    path, constant = PATHS[0], torch.tensor([0.3, -0.7], dtype=torch.float64)
    x = torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    target = progressive_target(lambda x, t, cond: constant.expand_as(x), x, filled(700), filled(-1), path)
    torch.testing.assert_close(target, constant.expand(5, 2))


def test_halvings():
    assert halvings(64, 4) == (32, 16, 8, 4)
    for start, end in ((48, 5), (4, 4), (2, 4)):
        with pytest.raises(ValueError, match="halve"):
            halvings(start, end)


# ---------------------------------------------------------------------------------------------------------- segments
@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
def test_one_segment_is_consistency_distillation(path):
    times = even_times(path, 12)
    assert segment_ends(times, 1) == (path.t_clean,) * 12
    student = ConsistencyFunction(Denoised(net(1), path, V()), path, KarrasBoundary())
    target = ConsistencyFunction(Denoised(net(2), path, V()), path, KarrasBoundary())
    x, ahead = torch.randn(2, 5, 2, generator=seeded(), dtype=torch.float64)
    t, s = filled(times[4]), filled(times[5])
    pair = Pair(x=x, t=t, next_x=ahead, next_t=s, end=filled(path.t_clean))
    plain = (student(x, t) - target(ahead, s)).square().mean(1)
    for measured in Measured:
        torch.testing.assert_close(consistency_loss(student, target, pair, path, measured=measured), plain)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
def test_as_many_segments_as_teacher_steps_is_ddim(path):
    steps, teacher = 8, MIXTURE.denoiser(path)
    times = even_times(path, steps)
    ends = segment_ends(times, steps)
    assert ends == times[1:]
    x = path.sigma(path.t_max) * torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    states = x
    for t, s in zip(times, ends, strict=False):  # the student's sampler is the teacher's, the loss of a copy is 0
        t, s = filled(t), filled(s)
        ahead = DdimSteps()(teacher, states, t, s, path)
        loss = consistency_loss(teacher, teacher, Pair(x=states, t=t, next_x=ahead, next_t=s, end=s), path)
        assert loss.abs().max() == 0
        states = segment_end(teacher, states, t, s, path)
    torch.testing.assert_close(states, Ddim()(teacher, x, times, path), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(UniformGrid(steps)(path), times)


def test_segment_ends_and_their_state_at_the_end():
    path = PATHS[1]
    times = even_times(path, 12)
    ends = segment_ends(times, 4)
    assert ends == tuple(times[3 * (place // 3 + 1)] for place in range(12))
    with pytest.raises(RequestError, match="divisor"):
        segment_ends(times, 5)
    x = torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    assert torch.equal(segment_end(MIXTURE.denoiser(path), x, filled(ends[0]), filled(ends[0]), path), x)


def test_residual_is_zero_for_what_is_consistent():
    path, x0 = PATHS[1], torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    noise = torch.randn(5, 2, generator=seeded(1), dtype=torch.float64)
    times = even_times(path, 8)
    states = [path.alpha(t) * x0 + path.sigma(t) * noise for t in times]
    assert consistency_residual(lambda x, t, cond: x0, states, times, segment_ends(times, 2), path).max() < 1e-20
    ends = segment_ends(times, 1)
    assert consistency_residual(Denoised(net(), path, V()), states, times, ends, path).min() > 1e-3


def test_measured_in_data_divides_by_what_x0_moves():
    path = PATHS[1]
    x, ahead = torch.randn(2, 5, 2, generator=seeded(), dtype=torch.float64)
    pair = Pair(x=x, t=filled(0.9), next_x=ahead, next_t=filled(0.8), end=filled(0.5))
    student, target = Denoised(net(1), path, V()), Denoised(net(2), path, V())
    state, data = (consistency_loss(student, target, pair, path, measured=m) for m in Measured)
    moves = path.alpha(0.5) - path.sigma(0.5) / path.sigma(0.9) * path.alpha(0.9)
    torch.testing.assert_close(state, data * moves**2)


def test_no_gradient_through_the_further_state():
    path, student = PATHS[1], net()
    f = Denoised(student, path, V())
    x, ahead = torch.randn(2, 5, 2, generator=seeded(), dtype=torch.float64)
    pair = Pair(x=x, t=filled(0.9), next_x=ahead, next_t=filled(0.8), end=filled(0.0))
    consistency_loss(f, f, pair, path).sum().backward()
    with_target = [p.grad.clone() for p in student.layers.parameters()]
    student.zero_grad()
    goal = f(ahead, filled(0.8)).detach()
    Squared()(f(x, filled(0.9)), goal).sum().backward()
    for ours, plain in zip(with_target, student.layers.parameters(), strict=True):
        torch.testing.assert_close(ours, plain.grad)


def test_pseudo_huber():
    a, b = torch.tensor([[3.0, 0.0]]), torch.zeros(1, 2)
    assert PseudoHuber(4.0)(a, b).item() == pytest.approx((5.0 - 4.0) / 2)
    with pytest.raises(RequestError):
        PseudoHuber(0.0)


# ------------------------------------------------------------------------------------------------ consistency training
def test_training_pair_shares_its_noise():
    path = PATHS[1]
    x0, noise = torch.randn(2, 5, 2, generator=seeded(), dtype=torch.float64)
    pair = training_pair(x0, noise, filled(0.7), filled(path.t_clean), path)
    torch.testing.assert_close(pair.x, path.alpha(0.7) * x0 + path.sigma(0.7) * noise)
    assert torch.equal(pair.next_x, x0)
    assert torch.equal(pair.end, filled(path.t_clean))


def test_growing_steps_are_the_published_ones():
    schedule = GrowingSteps()
    assert [schedule.steps(k, 100) for k in (0, 25, 50, 100)] == [2, 76, 107, 151]
    assert schedule.decay_at(0, 100) == pytest.approx(0.9)
    assert schedule.decay_at(100, 100) == pytest.approx(math.exp(2 * math.log(0.9) / 151))


# ----------------------------------------------------------------------------------------------------------- students
@pytest.mark.parametrize("guidance", [GuidanceRange(low=2.0, high=2.0), GuidanceRange(low=1.0, high=4.0)])
def test_student_starts_as_its_teacher_and_learns_every_parameter(guidance):
    teacher = prior(net())
    student = Student(teacher, guidance)
    x, t = torch.randn(5, 2, generator=seeded(), dtype=torch.float64), filled(0.6)
    cond, scale = teacher.conditions(["0", "1", "2", "0", "1"]), torch.linspace(1, 4, 5)
    asked = student.asked(cond, scale)
    torch.testing.assert_close(student(x, t.float(), asked), teacher.network(x, t.float(), cond))
    if student.guidance is not None:
        torch.nn.init.normal_(student.guidance.weigh.weight)
        moved = student(x, t.float(), student.asked(cond, scale + 1)) - student(x, t.float(), asked)
        assert moved.abs().min() > 0
    student_denoiser(student, teacher)(x, t, asked).square().sum().backward()
    student(x, t.float(), student.asked(torch.full((5,), 3), scale)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters())
    assert all(p.grad is None for p in teacher.network.parameters())


def test_teacher_of_several_strengths_guides_each_sample_by_its_own():
    teacher = prior(net())
    x, t = torch.randn(3, 2, generator=seeded(), dtype=torch.float64), filled(0.6, 3)
    cond, scale = teacher.conditions(["0", "1", "2"]), torch.tensor([1.0, 2.0, 3.5])
    made = teacher_of(teacher, GuidanceRange(low=1.0, high=4.0))(x, t, (cond, scale))
    for row, one in enumerate(scale.tolist()):
        alone = teacher_of(teacher, GuidanceRange(low=one, high=one))(x, t, cond)
        torch.testing.assert_close(made[row], alone[row])


def test_ranges_are_checked():
    with pytest.raises(RequestError):
        GuidanceRange(low=3.0, high=2.0)
    mute = dataclasses.replace(prior(net()), null_cond=None)
    with pytest.raises(RequestError, match="null condition"):
        teacher_of(mute, GuidanceRange(low=1.0, high=2.0))


# --------------------------------------------------------------------------------------------------------------- pool
def test_pool_follows_the_teacher_and_covers_all_noise_levels():
    path, steps, rows = PATHS[1], 6, 12
    times = torch.tensor(even_times(path, steps), dtype=torch.float64)
    teacher = MIXTURE.denoiser(path)
    noise = torch.randn(rows, 2, generator=seeded(), dtype=torch.float64)
    pool = TrajectoryPool(noise, (torch.arange(rows), None), torch.ones(rows), steps)
    places = []
    for turn in range(40 * rows // 4):
        visit = pool.visit(turn, 4)
        places.append(visit.place)
        ahead = DdimSteps()(teacher, visit.x, times[visit.place], times[visit.place + 1], path)
        fresh = torch.randn(4, 2, generator=seeded(turn + 1), dtype=torch.float64)
        pool.move(visit, ahead, visit.place + 1, fresh, (torch.full((4,), 100 + turn), None), torch.full((4,), 2.0))
        if turn == rows // 4 * (steps - 1) - 1:  # the last row lives longest: it has come from pure noise all the way
            whole = Ddim()(teacher, noise[-1:], tuple(times[:steps].tolist()), path)
            torch.testing.assert_close(pool.state[-1:], whole)
    late = torch.stack(places[-10 * steps :]).flatten()
    assert np.bincount(late.numpy(), minlength=steps).tolist() == [len(late) // steps] * steps
    assert pool.get_buffer("cond_0").min() >= 100
    assert set(pool.state_dict()) == {"state", "place", "left", "scale", "cond_0"}


def test_pool_goes_on_from_its_buffers():
    pools = []
    for _ in range(2):
        pool = TrajectoryPool(torch.zeros(4, 2), torch.zeros(4), torch.ones(4), 3)
        for turn in range(3):
            visit = pool.visit(turn, 2)
            ahead, noise = torch.full((2, 2), turn + 1.0), torch.zeros(2, 2)
            pool.move(visit, ahead, visit.place + 1, noise, torch.ones(2), torch.ones(2))
        pools.append(pool)
    again = TrajectoryPool(torch.ones(4, 2), torch.ones(4), torch.zeros(4), 3)
    again.load_state_dict(pools[0].state_dict())
    for name, value in pools[1].state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


# ------------------------------------------------------------------------------------------------------------ rewards
def test_rewards():
    grey, red = torch.zeros(1, 3, 4, 4), -torch.ones(1, 3, 4, 4)
    red[:, 0, :, :2] = 1.0
    assert Colourfulness()(grey).item() < 1e-2
    expected = np.std([255, 0]) ** 2 + np.std([127.5, 0]) ** 2
    strength = np.mean([255, 0]) ** 2 + np.mean([127.5, 0]) ** 2
    assert Colourfulness()(red).item() == pytest.approx(math.sqrt(expected) + 0.3 * math.sqrt(strength), rel=1e-5)
    assert Brightness()(grey).item() == 0.0
