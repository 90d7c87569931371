"""What a run or a training will cost, before it starts.

Method. The real code runs once on *fake* tensors (torch's FakeTensorMode): they have shapes and no values, so that no
memory is taken and no arithmetic is done. Every operation passes two counters: torch's FLOP counter (matrix products,
convolutions and attention, which are nearly all of the arithmetic), and one that adds up the bytes of all tensors that
are alive, whose largest value is the memory. A request with `steps` is counted with one and with two steps; the rest
follows, because every step costs the same. Time is FLOPs by the rate of a large matrix product measured on this
machine, which is a lower bound: small layers reach a half to a fifth of it.
"""

from __future__ import annotations

import dataclasses
import math
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from bottega.catalog.cases import Case, cases
from bottega.catalog.parts import Part, choose_parts, connect, import_parts
from bottega.catalog.rooms import Catalog
from bottega.errors import BottegaError, RequestError
from bottega.room import Stage, System, silent
from bottega.training import OwnOptimizers, Recipe, TrainState, optimizer_of
from bottega.weights import bundled_path, read_native_header

RATE_SIZE = 1024
SAMPLES = 256
ATEN = torch.ops.aten


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A forecast.

    Args:
        what: What is forecast: a mode's name, or a stage's.
        parameters: Numbers in the model.
        weights_bytes: Of the parameters.
        peak_bytes: The most that all tensors take at once: weights, gradients, optimizer, activations.
        flops: Arithmetic of one run, or of one update.
        repeats: How many of those there are: 1, or the updates of the stage.
        disk_bytes: What the checkpoints take at most; 0 for a run.
        complete: Whether the whole work was counted; false when it stopped early at a value that fakes do not have.
    """

    what: str
    parameters: int
    weights_bytes: int
    peak_bytes: int
    flops: int
    repeats: int
    disk_bytes: int
    complete: bool

    def seconds(self, rate: float) -> float:
        """The least time at so many FLOP/s."""
        return self.flops * self.repeats / rate


class LiveBytes(TorchDispatchMode):
    """Adds up the bytes of the tensors that operations make, for as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, tensor: Tensor) -> None:
        """Counts a tensor's memory once, until it is freed."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return made


class _Few:
    """The first samples of a source: enough for one update, without the hours that encoding all of them may take."""

    def __init__(self, source: Any, count: int) -> None:
        self._source, self._count = source, count

    def __len__(self) -> int:
        return min(self._count, len(self._source))

    def __getitem__(self, index: int) -> Any:
        return self._source[index]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


@dataclass(frozen=True, slots=True)
class Fakes:
    """A model without values, and the mode in which it computes without computing."""

    mode: FakeTensorMode
    model: nn.Module

    @classmethod
    def of(cls, build: Callable[[], nn.Module]) -> Fakes:
        """Builds on "meta", and then pretends to be on the CPU: it has a device and shapes, and takes no memory."""
        mode = FakeTensorMode(allow_non_fake_inputs=True)
        return cls(mode, _faked(build, mode))

    @classmethod
    def connected(cls, catalog: Catalog, system_id: str, config: Any) -> Fakes:
        """The same of a system with its parts, which offer what they hold (a null condition, say) as fakes."""
        import_parts(catalog, system_id, config)
        mode = FakeTensorMode(allow_non_fake_inputs=True)

        def open_system(name: str, config: Any) -> nn.Module:
            system = catalog.get(name)
            model, parts = _faked(lambda: system.build(config), mode), choose_parts(system, name, config, {})[1]
            opened = {part: Opened(open_system(part.id, _config_of(catalog, part))) for part in parts.values()}
            if system.attach is not None:  # words become numbers with these tokenizers
                system.attach(model, _bundled_assets(catalog, name))
            with mode:
                connect(catalog, system, model, parts, opened.__getitem__)
            return model

        return cls(mode, open_system(system_id, config))


@dataclass(frozen=True, slots=True)
class Opened:
    """A part without values."""

    model: nn.Module


def _faked(build: Callable[[], nn.Module], mode: FakeTensorMode) -> nn.Module:
    with torch.device("meta"):
        model = build()
    with mode:
        return model.to_empty(device="cpu")


def _config_of(catalog: Catalog, part: Part) -> Any:
    system = catalog.get(part.id)
    return catalog.preset(part.id, part.preset or system.at_hand() or next(iter(system.presets))).config


def plan_run(catalog: Catalog, system_id: str, preset: str) -> list[Plan]:
    """A forecast for each mode of a system, at its default settings."""
    system = catalog.get(system_id)
    config = catalog.preset(system_id, preset).config
    fakes = Fakes.connected(catalog, system_id, config)
    made = [case for case in cases(system, ("red apple",), Path("picture.png")) if case.reads != "picture"]
    own = Case(title="run", request=system.tiny_request, reads="nothing")
    plans = [_plan_request(system, fakes, case) for case in made or [own]]
    return [plan for plan in plans if plan is not None] or [_forecast(system, fakes, own)]


def _bundled_assets(catalog: Catalog, system_id: str) -> Mapping[str, str]:
    bundled = catalog.get(system_id).bundled
    path = None if bundled is None else bundled_path(catalog.folder(system_id), bundled)
    return {} if path is None or not path.is_file() else read_native_header(path).assets


def _plan_request(system: System, fakes: Fakes, case: Case) -> Plan | None:
    """A forecast of one request; None where the words given say nothing to the mode, and the system has none for it."""
    if case.reads == "words" and not _forecast(system, fakes, case).flops:
        try:
            own = dataclasses.replace(case.request, inputs=system.tiny_request.inputs)
        except RequestError:
            return None
        case = dataclasses.replace(case, request=own, reads="nothing")
    return _forecast(system, fakes, case)


def _forecast(system: System, fakes: Fakes, case: Case) -> Plan:
    """A forecast of one request as it is; steps beyond the second are added up, not run."""

    def count(request: Any) -> Plan:
        return _count(fakes, lambda model: system.infer(model.eval(), request, silent), case.title)

    steps = getattr(case.request, "steps", None)
    if steps is None or steps < 3:
        return count(case.request)
    one, two = (count(dataclasses.replace(case.request, steps=few)) for few in (1, 2))
    return dataclasses.replace(two, flops=one.flops + (steps - 1) * (two.flops - one.flops))


def plan_train(
    catalog: Catalog, system_id: str, preset: str, stages: tuple[Stage, ...], data: str | None
) -> list[Plan]:
    """A forecast for each stage of a training."""
    system = catalog.get(system_id)
    config = catalog.preset(system_id, preset).config
    if system.open_source is None:
        raise RequestError(f"{system_id} cannot open training data")
    source = _Few(system.open_source(data), max(SAMPLES, *(stage.settings.batch_size for stage in stages)))
    plans = []
    fakes = Fakes.connected(catalog, system_id, config)
    for stage in stages:
        with fakes.mode:
            recipe = stage.recipe(fakes.model, source)
        state_bytes = 0

        def work(model: nn.Module, stage: Stage = stage, recipe: Recipe = recipe) -> None:
            nonlocal state_bytes
            state_bytes = _update(recipe, stage)

        counted = _count(fakes, work, stage.name)
        copies = stage.settings.keep + 1  # the newest is written before the oldest goes
        disk_bytes = state_bytes * copies + counted.weights_bytes
        plans.append(dataclasses.replace(counted, repeats=stage.settings.steps, disk_bytes=disk_bytes))
    return plans


def _update(recipe: Recipe, stage: Stage) -> int:
    """One update of a recipe; returns the bytes of a checkpoint (weights, average, two moments)."""
    settings = stage.settings
    optimizers: dict[str, torch.optim.Optimizer]
    if isinstance(recipe, OwnOptimizers):
        optimizers = recipe.optimizers(settings)
    else:
        optimizers = {"main": optimizer_of(recipe.parameter_groups(settings), settings)}
    recipe.model.train()
    state = TrainState(
        model=recipe.model, ema=None, optimizers=optimizers, step=0, generator=torch.Generator(), settings=settings
    )
    weights = sum(p.numel() * p.element_size() for p in recipe.model.parameters())
    trained = sum(p.numel() * p.element_size() for p in recipe.model.parameters() if p.requires_grad)
    indices = [index % len(recipe) for index in range(settings.batch_size)]
    recipe.step(state, recipe.batch(indices, torch.Generator().manual_seed(0)))
    return weights + 2 * trained + (trained if settings.ema_decay is not None else 0)


def _count(fakes: Fakes, work: Callable[[nn.Module], object], what: str) -> Plan:
    """Runs the work on fake tensors under both counters.

    Work on fakes ends early where Python asks for a value: at the end of a run that makes pictures (their pixels), in
    the middle of one that writes words. `complete` says whether it got to its end.
    """
    model = fakes.model
    model.zero_grad(set_to_none=True)
    live, flops = LiveBytes(), FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION)
    for tensor in (*model.parameters(), *model.buffers()):
        live.add(tensor)
    with fakes.mode, live, flops:
        complete = True
        try:
            work(model)
        except (BottegaError, RuntimeError, TypeError, ValueError, NotImplementedError):
            complete = False
        parameters = list(model.parameters())
    return Plan(
        what=what,
        parameters=sum(p.numel() for p in parameters),
        weights_bytes=sum(p.numel() * p.element_size() for p in parameters),
        peak_bytes=live.peak,
        flops=flops.get_total_flops(),
        repeats=1,
        disk_bytes=0,
        complete=complete,
    )


def _attention(
    query: Any, key: Any, value: Any, *rest: Any, attn_mask: Any = None, scale: Any = None, out_shape: Any
) -> int:
    """FLOPs of torch's CPU kernel for attention, from its arguments' shapes."""
    return sdpa_flop_count(query, key, value)


def _attention_backward(
    grad: Any, query: Any, key: Any, value: Any, *rest: Any, attn_mask: Any = None, scale: Any = None, out_shape: Any
) -> int:
    """The same for its gradient."""
    return sdpa_backward_flop_count(grad, query, key, value)


_CPU_ATTENTION = {
    ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
    ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def matmul_rate(device: str, dtype: torch.dtype, seconds: float = 0.2) -> float:
    """FLOP/s of a product of two square matrices of 1024, measured for a fraction of a second."""
    left = torch.ones(RATE_SIZE, RATE_SIZE, device=device, dtype=dtype)
    right = torch.ones(RATE_SIZE, RATE_SIZE, device=device, dtype=dtype)
    best = math.inf
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or best == math.inf:
        start = time.perf_counter()
        torch.mm(left, right)
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * RATE_SIZE**3 / best
