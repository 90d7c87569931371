"""The fast solvers against the diffusers scheduler of the same name, step by step, on a nonlinear random network."""

import importlib
import sys
from types import ModuleType

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
    Bh,
    Ddim,
    Deis,
    Denoised,
    DpmMultistep,
    DpmSinglestep,
    Epsilon,
    Expansion,
    LeadingGrid,
    LinspaceGrid,
    Nodes,
    ParaDigms,
    Plms,
    Pndm,
    StagedStep,
    Target,
    TrailingGrid,
    UniPc,
)

every_path = pytest.mark.parametrize("path_name", PATHS)
every_prediction = pytest.mark.parametrize("kind", PREDICTIONS)
TYPES = {Expansion.AUTHORS: "midpoint", Expansion.EXACT: "heun"}


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def ready(scheduler, steps: int):
    """The peer in double, its table of noise levels too: it keeps that in float32."""
    in_double(scheduler).set_timesteps(steps)
    levels = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt()
    inner = levels[scheduler.timesteps.long()]
    scheduler.sigmas = torch.cat([inner, scheduler.sigmas[-1:].double()])
    if scheduler.sigmas[-1] > 0:
        scheduler.sigmas[-1] = levels[0]
    return scheduler


def times_of(scheduler, path) -> tuple[float, ...]:
    last = path.t_clean if scheduler.sigmas[-1] == 0 else path.t_min
    return (*map(float, scheduler.timesteps), last)


@every_path
@every_prediction
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("steps", [9, 20])
@pytest.mark.parametrize("final", ["zero", "sigma_min"])
def test_dpm_multistep_equals_the_peer(path_name: str, kind: str, order: int, steps: int, final: str):
    path, betas = PATHS[path_name]
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **betas, prediction_type=kind, solver_order=order, final_sigmas_type=final
    )
    times = times_of(ready(scheduler, steps), path)
    assert times[:-1] == LinspaceGrid(steps, last_index=False)(path)[:-1]
    ours = states_of(DpmMultistep(order=order), Denoised(Toy(), path, PREDICTIONS[kind]), start(), times, path)
    assert_equal_states(ours, peer_states(scheduler, Toy(), start()))


KINDS = {"dpmsolver": (2, 3), "dpmsolver++": (2, 3), "sde-dpmsolver++": (2,)}


@every_path
@pytest.mark.parametrize(
    ("kind", "order", "expansion"),
    [
        *((kind, order, Expansion.AUTHORS) for kind, orders in KINDS.items() for order in orders),
        *((kind, 2, Expansion.EXACT) for kind in KINDS),
    ],
)
@pytest.mark.parametrize("lower_order_final", [False, True])
def test_dpm_multistep_kinds_equal_the_peer(
    path_name: str, kind: str, order: int, expansion: Expansion, lower_order_final: bool
):
    """Not compared: the peer's third order knows one expansion, and with noise has a wrong sign in its last factor."""
    path, betas = PATHS[path_name]
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **betas,
        solver_order=order,
        algorithm_type=kind,
        solver_type=TYPES[expansion],
        lower_order_final=lower_order_final,
        final_sigmas_type="sigma_min",
    )
    times = times_of(ready(scheduler, 12), path)
    solver = DpmMultistep(
        order=order,
        target=Target.NOISE if kind == "dpmsolver" else Target.DATA,
        eta=float(kind.startswith("sde")),
        expansion=expansion,
        lower_order_final=lower_order_final,
    )
    ours = states_of(solver, Denoised(Toy(), path, Epsilon()), start(), times, path)
    assert_equal_states(ours, peer_states(scheduler, Toy(), start()))


@every_path
@pytest.mark.parametrize("kind", ["dpmsolver", "dpmsolver++"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("expansion", Expansion)
@pytest.mark.parametrize("steps", [10, 15, 18])
def test_dpm_singlestep_equals_the_peer(path_name: str, kind: str, order: int, expansion: Expansion, steps: int):
    path, betas = PATHS[path_name]
    zero = kind == "dpmsolver++"
    scheduler = diffusers.DPMSolverSinglestepScheduler(
        **betas,
        solver_order=order,
        algorithm_type=kind,
        solver_type=TYPES[expansion],
        lower_order_final=True,
        final_sigmas_type="zero" if zero else "sigma_min",
    )
    times = times_of(ready(scheduler, steps), path)
    target = Target.DATA if zero else Target.NOISE
    solver = DpmSinglestep(order=order, target=target, expansion=expansion, nodes=Nodes.GRID)
    ours = states_of(solver, Denoised(Toy(), path, Epsilon()), start(), times, path)
    assert_equal_states(ours, peer_states(scheduler, Toy(), start(), seed=-1))


@every_path
def test_dpm_plus_plus_sde_equals_the_peer(path_name: str, monkeypatch: pytest.MonkeyPatch):
    """The peer's Brownian path (of torchsde, which is not here) is replaced by ours; its states are x / alpha."""
    monkeypatch.setitem(sys.modules, "torchsde", ModuleType("torchsde"))
    peer = importlib.import_module("diffusers.schedulers.scheduling_dpmsolver_sde")
    path, betas = PATHS[path_name]
    scheduler = peer.DPMSolverSDEScheduler(**betas, timestep_spacing="trailing")
    in_double(scheduler).set_timesteps(STEPS)
    levels = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt()
    times = TrailingGrid(STEPS)(path)
    solver = DpmSinglestep(order=2, target=Target.DATA, eta=1.0)
    plan = [step for step in solver.plan(times, path) if isinstance(step, StagedStep)]
    grid = torch.tensor([levels[int(t)] for t in times[:-1]])
    scheduler.sigmas = torch.cat([grid[:1], grid[1:].repeat_interleave(2), torch.zeros(1)])
    ours = states_of(solver, Denoised(Toy(), path, Epsilon()), start(), times, path)
    generator, fed = torch.Generator().manual_seed(11), []
    for step in plan:
        drawn: list[Tensor] = []
        for _, stage in step.stages:
            if stage.noises:
                drawn.insert(0, torch.randn(start().shape, generator=generator))
                size = sum(factor**2 for factor in stage.noises) ** 0.5
                fed.append(sum(f / size * noise for f, noise in zip(stage.noises, drawn, strict=True)))
    queue = iter(fed)
    scheduler.noise_sampler = lambda one, other: next(queue)
    x, theirs = start() * (levels[int(times[0])] ** 2 + 1).sqrt(), []
    asked = [t for step in plan for t, _ in step.stages]
    scheduler._step_index = 0
    for t in asked:
        level = path.sigma(t) / path.alpha(t)
        output = Toy()((x / (level**2 + 1) ** 0.5).float(), torch.full((2,), t))
        x = scheduler.step(output, t, x).prev_sample
        theirs.append(x)
    ends = [*theirs[1::2], theirs[-1]]
    scale = [path.alpha(t) for t in times[1:]]
    assert_equal_states(ours, [x * a for x, a in zip(ends, scale, strict=True)])


@every_path
@every_prediction
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("steps", [9, 20])
@pytest.mark.parametrize("lower_order_final", [False, True])
def test_deis_equals_the_peer(path_name: str, kind: str, order: int, steps: int, lower_order_final: bool):
    path, betas = PATHS[path_name]
    scheduler = diffusers.DEISMultistepScheduler(
        **betas, prediction_type=kind, solver_order=order, lower_order_final=lower_order_final
    )
    times = times_of(ready(scheduler, steps), path)
    solver = Deis(order=order, lower_order_final=lower_order_final)
    ours = states_of(solver, Denoised(Toy(), path, PREDICTIONS[kind]), start(), times, path)
    assert_equal_states(ours, peer_states(scheduler, Toy(), start(), seed=-1))


@every_path
@every_prediction
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(("bh", "final"), [(Bh.BH2, "zero"), (Bh.BH2, "sigma_min"), (Bh.BH1, "sigma_min")])
def test_unipc_equals_the_peer(path_name: str, kind: str, order: int, bh: Bh, final: str):
    """The peer's bh1 gives no number in a step that ends in clean data."""
    path, betas = PATHS[path_name]
    scheduler = diffusers.UniPCMultistepScheduler(
        **betas, prediction_type=kind, solver_order=order, solver_type=bh.value, final_sigmas_type=final
    )
    times = times_of(ready(scheduler, STEPS), path)
    ours = states_of(UniPc(order=order, bh=bh), Denoised(Toy(), path, PREDICTIONS[kind]), start(), times, path)
    assert_equal_states(ours, peer_states(scheduler, Toy(), start(), seed=-1))


@every_path
@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("corrector", [False, True])
@pytest.mark.parametrize("lower_order_final", [False, True])
def test_unipc_kinds_equal_the_peer(path_name: str, target: Target, corrector: bool, lower_order_final: bool):
    path, betas = PATHS[path_name]
    scheduler = diffusers.UniPCMultistepScheduler(
        **betas,
        solver_order=3,
        predict_x0=target is Target.DATA,
        disable_corrector=[] if corrector else list(range(STEPS)),
        lower_order_final=lower_order_final,
        final_sigmas_type="sigma_min",
    )
    times = times_of(ready(scheduler, STEPS), path)
    solver = UniPc(order=3, target=target, corrector=corrector, lower_order_final=lower_order_final)
    ours = states_of(solver, Denoised(Toy(), path, Epsilon()), start(), times, path)
    assert_equal_states(ours, peer_states(scheduler, Toy(), start(), seed=-1))


@every_path
@pytest.mark.parametrize(("spacing", "to_clean"), [("leading", True), ("trailing", True), ("trailing", False)])
def test_plms_equals_the_peer(path_name: str, spacing: str, to_clean: bool):
    """The peer's first step is two of its own. With v the peer makes noise of a mean of v's: only noise is compared."""
    path, betas = PATHS[path_name]
    scheduler = diffusers.PNDMScheduler(
        **betas, skip_prk_steps=True, set_alpha_to_one=to_clean, timestep_spacing=spacing
    )
    in_double(scheduler).set_timesteps(STEPS)
    times = (LeadingGrid if spacing == "leading" else TrailingGrid)(STEPS)(path)
    times = times if to_clean else (*times[:-1], path.t_min)
    assert [times[0], *times[1:2], *times[1:-1]] == [float(t) for t in scheduler.timesteps]
    ours = states_of(Plms(), Denoised(Toy(), path, Epsilon()), start(), times, path)
    theirs = peer_states(scheduler, Toy(), start(), seed=-1)
    assert_equal_states(ours, theirs[1:])


@every_path
def test_pndm_equals_the_peer(path_name: str):
    """The peer's first three steps are four of its own each."""
    path, betas = PATHS[path_name]
    scheduler = diffusers.PNDMScheduler(**betas, set_alpha_to_one=True)
    in_double(scheduler).set_timesteps(STEPS)
    times = LeadingGrid(STEPS)(path)
    ours = states_of(Pndm(), Denoised(Toy(), path, Epsilon()), start(), times, path)
    theirs = peer_states(scheduler, Toy(), start(), seed=-1)
    assert_equal_states(ours, [*theirs[3:12:4], *theirs[12:]])


@every_path
def test_paradigms_equals_the_peer_s_parallel_steps(path_name: str):
    """Three passes of the paper's sum of drifts, done here by hand with the peer's batched step."""
    path, betas = PATHS[path_name]
    scheduler = diffusers.DDIMParallelScheduler(
        **betas, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing"
    )
    in_double(scheduler).set_timesteps(STEPS)
    times, x, window = TrailingGrid(STEPS)(path), start(), 8
    states = [x] * (window + 1)
    for _ in range(3):
        batch = torch.cat(states[:-1])
        each = scheduler.timesteps[:window].repeat_interleave(2)
        ends = scheduler.batch_step_no_noise(Toy()(batch, each.float()), each, batch).float()
        drifts = (ends - batch).unflatten(0, (window, 2))
        states = [x, *(x + drifts.cumsum(0))]
    asked: list[Tensor] = []
    network = Toy()

    def spy(x: Tensor, t: Tensor, cond: object = None) -> Tensor:
        asked.append(x)
        return network(x, t)

    solver = ParaDigms(solver=Ddim(), window=window, tolerance=0.0)
    solver(Denoised(spy, path, Epsilon()), x, times, path)
    assert_equal_states(list(asked[3].split(2))[: window - 2], states[3:])
