"""Every solver against the diffusers scheduler of the same name, step by step, on a nonlinear random network."""

import diffusers
import pytest
import torch
from diffusion_peers import (
    PATHS,
    PREDICTIONS,
    STEPS,
    Toy,
    assert_equal_states,
    in_double,
    peer_states,
    start,
    states_of,
)
from torch import Tensor

from bottega.processes.diffusion import (
    X0,
    Clipped,
    Ddim,
    DdimInversion,
    Ddpm,
    Denoised,
    DpmSolverPp2m,
    Edm,
    EdmGrid,
    EdmPreconditioned,
    Epsilon,
    Euler,
    Heun,
    LeadingGrid,
    LinspaceGrid,
    RectifiedFlow,
    TrailingGrid,
    UniformGrid,
    Velocity,
)

every_path = pytest.mark.parametrize("path_name", PATHS)
every_prediction = pytest.mark.parametrize("kind", PREDICTIONS)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@every_path
@every_prediction
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("clip", [False, True])
def test_ddpm_equals_the_peer(path_name: str, kind: str, variance: str, clip: bool):
    path, betas = PATHS[path_name]
    scheduler = in_double(
        diffusers.DDPMScheduler(**betas, variance_type=variance, clip_sample=clip, prediction_type=kind)
    )
    scheduler.set_timesteps(STEPS)
    times = LeadingGrid(STEPS)(path)
    assert times[:-1] == tuple(map(float, scheduler.timesteps))
    denoiser = Denoised(Toy(), path, PREDICTIONS[kind])
    ours = states_of(
        Ddpm(large_variance=variance == "fixed_large"), Clipped()(denoiser) if clip else denoiser, start(), times, path
    )
    assert_equal_states(ours, peer_states(scheduler, Toy(), start()))


@every_path
@every_prediction
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("to_clean", [False, True])
def test_ddim_equals_the_peer(path_name: str, kind: str, eta: float, spacing: str, to_clean: bool):
    path, betas = PATHS[path_name]
    scheduler = diffusers.DDIMScheduler(
        **betas, prediction_type=kind, timestep_spacing=spacing, set_alpha_to_one=to_clean, clip_sample=False
    )
    in_double(scheduler).set_timesteps(STEPS)
    times = (LeadingGrid(STEPS, offset=1) if spacing == "leading" else TrailingGrid(STEPS))(path)
    if spacing == "leading":
        scheduler.timesteps += 1
    assert times[:-1] == tuple(map(float, scheduler.timesteps))
    if not to_clean:
        times = (*times[:-1], path.t_min)
    ours = states_of(Ddim(eta=eta), Denoised(Toy(), path, PREDICTIONS[kind]), start(), times, path)
    assert_equal_states(ours, peer_states(scheduler, Toy(), start(), eta=eta))


@every_path
@pytest.mark.parametrize("to_clean", [False, True])
def test_ddim_inversion_equals_the_peer(path_name: str, to_clean: bool):
    path, betas = PATHS[path_name]
    scheduler = diffusers.DDIMInverseScheduler(
        **betas, timestep_spacing="trailing", set_alpha_to_one=to_clean, clip_sample=False
    )
    in_double(scheduler).set_timesteps(STEPS)
    first = path.t_clean if to_clean else path.t_min
    times = (first, *TrailingGrid(STEPS)(path)[-2::-1])
    assert times[1:] == tuple(map(float, scheduler.timesteps))
    ours = states_of(DdimInversion(), Denoised(Toy(), path, Epsilon()), start(), times, path)
    theirs, x = [], start()
    for t in scheduler.timesteps:
        x = scheduler.step(Toy()(x, torch.full((2,), float(t))), t, x).prev_sample
        theirs.append(x)
    assert_equal_states(ours, theirs)


def in_vp_units(states: list[Tensor], sigmas: Tensor) -> list[Tensor]:
    """k-diffusion states x / alpha as states x."""
    return [x / (level**2 + 1).sqrt() for x, level in zip(states, sigmas, strict=True)]


@every_path
@every_prediction
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_euler_equals_the_peer(path_name: str, kind: str, spacing: str):
    path, betas = PATHS[path_name]
    steps = 28 if spacing == "linspace" else STEPS  # 27 divides 999: whole indices
    scheduler = diffusers.EulerDiscreteScheduler(**betas, prediction_type=kind, timestep_spacing=spacing)
    in_double(scheduler).set_timesteps(steps)
    grid = {"leading": LeadingGrid, "linspace": LinspaceGrid, "trailing": TrailingGrid}[spacing](steps)
    times = grid(path)
    assert times[:-1] == pytest.approx([float(t) for t in scheduler.timesteps], abs=1e-3)
    ours = states_of(Euler(), Denoised(Toy(), path, PREDICTIONS[kind]), start(), times, path)
    first = start() * (scheduler.sigmas[0] ** 2 + 1).sqrt()
    theirs = peer_states(scheduler, Toy(), first)
    assert_equal_states(ours, in_vp_units(theirs, scheduler.sigmas[1:]))


@every_path
@every_prediction
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_heun_equals_the_peer(path_name: str, kind: str, spacing: str):
    path, betas = PATHS[path_name]
    scheduler = diffusers.HeunDiscreteScheduler(**betas, prediction_type=kind, timestep_spacing=spacing)
    in_double(scheduler).set_timesteps(STEPS)
    times = (LeadingGrid if spacing == "leading" else TrailingGrid)(STEPS)(path)
    ours = states_of(Heun(), Denoised(Toy(), path, PREDICTIONS[kind]), start(), times, path)
    x, theirs = start() * (scheduler.sigmas[0] ** 2 + 1).sqrt(), []
    for t in scheduler.timesteps:
        output = Toy()(scheduler.scale_model_input(x, t), torch.full((2,), float(t)))
        x = scheduler.step(output, t, x).prev_sample
        theirs.append(x)
    last_of_each_step = [*theirs[1::2], theirs[-1]]
    levels = [*scheduler.sigmas[2::2], scheduler.sigmas[-1]]
    assert_equal_states(ours, in_vp_units(last_of_each_step, torch.stack(levels)))


@every_path
@every_prediction
@pytest.mark.parametrize("steps", [9, 20])
@pytest.mark.parametrize("final", ["zero", "sigma_min"])
@pytest.mark.parametrize("lower_order_final", [False, True])
def test_dpm_solver_equals_the_peer(path_name: str, kind: str, steps: int, final: str, lower_order_final: bool):
    path, betas = PATHS[path_name]
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **betas,
        prediction_type=kind,
        final_sigmas_type=final,
        lower_order_final=lower_order_final,
        euler_at_final=final == "zero" and not lower_order_final,
    )
    in_double(scheduler).set_timesteps(steps)
    times = LinspaceGrid(steps, last_index=False)(path)
    assert times[:-1] == tuple(map(float, scheduler.timesteps))
    if final == "sigma_min":
        times = (*times[:-1], path.t_min)
    solver = DpmSolverPp2m(lower_order_final=lower_order_final)
    ours = states_of(solver, Denoised(Toy(), path, PREDICTIONS[kind]), start(), times, path)
    theirs = peer_states(scheduler, Toy(), start())
    assert_equal_states(ours, theirs)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_rectified_flow_equals_the_peer(shift: float):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=[1 - i / STEPS for i in range(STEPS)])
    path, network = RectifiedFlow(), Toy(unit=1.0)
    times = UniformGrid(STEPS, shift=shift)(path)
    assert times == pytest.approx(scheduler.sigmas.tolist(), abs=1e-6)
    denoiser = Denoised(network, path, Velocity())
    x, theirs = start(), []
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, torch.full((2,), float(t) / 1000)), t, x).prev_sample
        theirs.append(x)
    assert_equal_states(states_of(Euler(), denoiser, start(), times, path), theirs)
    assert_equal_states(states_of(Ddim(), denoiser, start(), times, path), theirs)


def test_rectified_flow_heun_equals_the_peer():
    scheduler = diffusers.FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(STEPS)
    path, network = RectifiedFlow(), Toy(unit=1.0)
    times = [*scheduler.sigmas[:1].tolist(), *scheduler.sigmas[1:-1:2].tolist(), 0.0]
    ours = states_of(Heun(), Denoised(network, path, Velocity()), start(), times, path)
    x, theirs = start(), []
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, torch.full((2,), float(t) / 1000)), t, x).prev_sample
        theirs.append(x)
    assert_equal_states(ours, [*theirs[1::2], theirs[-1]])


def test_edm_equals_the_peer():
    scheduler = diffusers.EDMEulerScheduler()
    scheduler.set_timesteps(STEPS)
    path, network = Edm(), Toy(unit=1.0)
    times = EdmGrid(STEPS)(path)
    assert times == pytest.approx(scheduler.sigmas.tolist(), rel=1e-5)
    denoiser = Denoised(EdmPreconditioned(network, sigma_data=0.5), path, X0())
    ours = states_of(Euler(), denoiser, 80 * start(), times, path)
    assert_equal_states(ours, peer_states(scheduler, network, 80 * start()))
