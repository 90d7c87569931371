"""Drags in a diffusion model: the state halfway to noise is what is dragged, by the features of the denoiser.

Source: DragDiffusion, arXiv:2306.14435, section 3: one step of the way is optimised with the two losses of DragGAN, and
while the way is walked to its end the dragged picture attends to the source's keys and values, which keeps what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bottega.errors import RequestError
from bottega.processes.diffusion import Ddim, DdimInversion, DiscreteVp, LogSnrGrid, Prior, Taps, TrailingGrid
from bottega.processes.dragging.dragger import Told
from bottega.processes.dragging.view import View


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionDrag:
    """How a diffusion model is dragged.

    Args:
        steps: Denoising steps of the whole way.
        depth: How far back on the way to noise the state is dragged, 0 to 1; 0.7 was published.
        guidance: Scale of classifier-free guidance where a sentence draws the picture; 1 is none.
        reference: Whether the dragged picture attends to the source's keys and values.
    """

    steps: int = 30
    depth: float = 0.7
    guidance: float = 2.0
    reference: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.steps <= 1000:
            raise RequestError.of("denoising steps", self.steps, "between 2 and 1000")
        if not 0.0 < self.depth < 1.0:
            raise RequestError.of("depth", self.depth, "between 0 and 1")

    @property
    def kept(self) -> int:
        """Denoising steps that are left after the dragged state."""
        return min(max(round(self.depth * self.steps), 1), self.steps - 1)


class PictureLora:
    """What a model learns of one picture: low-rank additions to the projections of its self-attention.

    The model itself is not changed; the additions are there within `applied`.

    Args:
        layers: The projections.
        rank: Of each addition; 16 was published.
    """

    def __init__(self, layers: Sequence[nn.Linear], rank: int = 16) -> None:
        self.layers, draw = tuple(layers), torch.Generator().manual_seed(0)
        self.downs: list[Tensor] = []
        self.ups: list[Tensor] = []
        for layer in self.layers:
            like = layer.weight
            down = torch.randn(rank, layer.in_features, generator=draw) / layer.in_features**0.5
            self.downs.append(down.to(like.device, torch.float32).requires_grad_())
            self.ups.append(torch.zeros(layer.out_features, rank, device=like.device).requires_grad_())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context the model has learned the picture."""
        triples = zip(self.layers, self.downs, self.ups, strict=True)
        handles = [layer.register_forward_hook(_low_rank(down, up)) for layer, down, up in triples]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def learn(self, prior: Prior, pictures: Tensor, condition: Any, steps: int, told: Told) -> None:
        """Learns one picture by the model's own loss at random times.

        Args:
            prior: The model.
            pictures: `(1, 3, size, size)` in [-1, 1].
            condition: What the picture is of, of one row.
            steps: Updates; 80 were published.
            told: Hears of every update.

        Source: arXiv:2306.14435, section 3.2.
        """
        clean = prior.from_pictures(pictures).detach().float()
        states, rows = clean.repeat(4, *[1] * (clean.ndim - 1)), rows_of(condition, 4)
        adam, draw = torch.optim.Adam([*self.downs, *self.ups], lr=2e-3), torch.Generator().manual_seed(0)
        times = times_of(prior, 200)
        denoiser = prior.denoiser()
        with torch.enable_grad(), self.applied():
            for step in range(steps):
                time = times[int(torch.randint(20, len(times) - 1, (), generator=draw))]
                noise = torch.randn(states.shape, generator=draw).to(states)
                noisy = prior.path.alpha(time) * states + prior.path.sigma(time) * noise
                loss = (denoiser(noisy, time, rows) - states).square().mean()
                slopes = torch.autograd.grad(loss, [*self.downs, *self.ups])
                for parameter, slope in zip([*self.downs, *self.ups], slopes, strict=True):
                    parameter.grad = slope
                adam.step()
                told(step + 1, steps, "learn the picture")


class DiffusionCanvas:
    """A diffusion model's picture as what is dragged.

    Args:
        prior: The model; it must have taps.
        state: The state to drag, `(1, *shape)`, at `time`.
        condition: What the picture is of, of one row; None for nothing.
        how: Steps, guidance and reference.
        guidance: Scale of guidance on the way to the end.
        lora: What the model learned of the picture; None where it drew the picture itself.

    Raises:
        RequestError: The model cannot be looked into.
    """

    def __init__(
        self,
        prior: Prior,
        state: Tensor,
        condition: Any,
        how: DiffusionDrag,
        *,
        guidance: float = 1.0,
        lora: PictureLora | None = None,
    ) -> None:
        self.known = nullcontext if lora is None else lora.applied
        self.prior, self.latent, self.how, self.condition = prior, state.detach(), how, condition
        self.taps = taps_of(prior)
        self.rest = times_of(prior, how.steps)[-how.kept - 1 :]
        self.denoiser = prior.guided(guidance)

    def view(self, latent: Tensor) -> View:
        """The denoiser's features of a state, and the picture at the end of its way."""
        time = torch.full((1,), self.rest[0], dtype=torch.float32, device=latent.device)
        with self.known(), listening(self.taps.block) as heard:
            self.prior.network(latent, time, self.condition)
        kept = latent.detach()
        return View(
            features=self.taps.maps(heard[-1]).float(), picture=lambda: self.finished(kept), size=self.prior.size
        )

    @torch.no_grad()
    def finished(self, state: Tensor) -> Tensor:
        """The picture of a dragged state, `(1, 3, size, size)`, drawn beside the source."""
        both = torch.cat((self.latent, state))
        layers = self.taps.projections if self.how.reference else ()
        with self.known(), sharing(layers):
            ends = Ddim()(self.denoiser, both, self.rest, self.prior.path, cond=rows_of(self.condition, 2))
        return self.prior.to_pictures(ends[1:].to(self.prior.like)).clamp(-1, 1).float()


@torch.no_grad()
def drawn_state(
    prior: Prior, condition: Any, how: DiffusionDrag, generator: torch.Generator, told: Told, *, guidance: float = 1.0
) -> Tensor:
    """The state of a drawn picture on its way, where drags begin: `(1, *shape)`."""
    times = times_of(prior, how.steps)
    first = times[: len(times) - how.kept]

    def heard(step: int, total: int, *_: Tensor) -> None:
        told(step, total, "draw")

    denoiser = prior.guided(guidance)
    start = prior.start([generator], times[0])
    return Ddim()(denoiser, start, first, prior.path, cond=condition, report=heard)


@torch.no_grad()
def inverted_state(
    prior: Prior, pictures: Tensor, condition: Any, how: DiffusionDrag, told: Told, *, lora: PictureLora | None = None
) -> Tensor:
    """The state from which DDIM makes a picture again, `(1, *shape)`.

    Args:
        prior: The model.
        pictures: `(1, 3, size, size)` in [-1, 1].
        condition: What the picture is of, of one row.
        how: Steps and depth.
        told: Hears of every step.
        lora: What the model learned of the picture.
    """
    rising = times_of(prior, how.steps)[-how.kept - 1 :][::-1]

    def heard(step: int, total: int, *_: Tensor) -> None:
        told(step, total, "find the picture")

    clean = prior.from_pictures(pictures)
    with nullcontext() if lora is None else lora.applied():
        return DdimInversion()(prior.denoiser(), clean.float(), rising, prior.path, cond=condition, report=heard)


def times_of(prior: Prior, steps: int) -> Sequence[float]:
    """The times of a whole way, from noise to the clean end."""
    grid = TrailingGrid(steps) if isinstance(prior.path, DiscreteVp) else LogSnrGrid(steps)
    return grid(prior.path)


def taps_of(prior: Prior) -> Taps:
    """Where to look into a model.

    Raises:
        RequestError: It cannot be looked into.
    """
    if prior.taps is None:
        raise RequestError("this diffusion model cannot be looked into; take uvit or unidiffuser")
    return prior.taps


def rows_of(condition: Any, count: int) -> Any:
    """A condition of one row, so many times."""
    if isinstance(condition, Tensor):
        return condition.repeat_interleave(count, 0)
    return None if condition is None else tuple(rows_of(part, count) for part in condition)


@contextmanager
def listening(part: nn.Module) -> Iterator[list[Tensor]]:
    """Within the context, what a module puts out is kept."""
    heard: list[Tensor] = []

    def hear(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        heard.append(output)

    handle = part.register_forward_hook(hear)
    try:
        yield heard
    finally:
        handle.remove()


@contextmanager
def sharing(projections: Sequence[nn.Module]) -> Iterator[None]:
    """Within the context, every odd row of a batch attends to the keys and values of the even row before it."""
    handles = [part.register_forward_hook(_share) for part in projections]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _low_rank(down: Tensor, up: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + (inputs[0].to(down) @ down.T @ up.T).to(output)

    return add


def _share(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    width = output.shape[-1] // 3
    shared = output.clone()
    shared[1::2, ..., width:] = output[::2, ..., width:]
    return shared
