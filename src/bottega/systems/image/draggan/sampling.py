"""Pictures that can be dragged: drawn by the generator, or somebody's, which it looks for in itself."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bottega.data import fit_picture, pictures_to_tensor
from bottega.errors import RequestError
from bottega.networks import Noise, StyleGan2Generator
from bottega.processes.dragging import (
    DragSession,
    DragSettings,
    Drawn,
    Given,
    NearestFeature,
    Start,
    Told,
    View,
)
from bottega.systems.image.draggan.config import DragGanConfig
from bottega.systems.image.draggan.model import DragGan, frozen
from bottega.systems.image.draggan.objective import picture_distance
from bottega.training import draw_generators

PSI = 0.7
"""Truncation of drawn pictures, as published."""
SEARCHED = 64
"""Styles of each kind that an inversion begins by looking at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inversion:
    """How a picture is looked for.

    Args:
        steps: Updates of its styles.
        rate: Adam's rate, which falls to zero in the last quarter.
        tuning: Updates of the generator's weights around the styles found; 0 leaves them.
        tuning_rate: Their rate.

    Source: W+ as in arXiv:1904.03189; pivotal tuning, arXiv:2106.05744.
    """

    steps: int = 200
    rate: float = 0.05
    tuning: int = 0
    tuning_rate: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("steps", "tuning"):
            if not 0 <= getattr(self, name) <= 10_000:
                raise RequestError.of(name, getattr(self, name), "between 0 and 10000")


class GanCanvas:
    """A generator as what is dragged: a latent holds the first styles; the others, and the noise, stay.

    Args:
        generator: Its weights are not differentiated.
        config: Where it is dragged.
        styles: `(1, styles, style_dim)`: where the drag begins.
        shared: Whether all dragged styles are one (W) instead of each its own (W+).
    """

    def __init__(
        self, generator: StyleGan2Generator, config: DragGanConfig, styles: Tensor, *, shared: bool = False
    ) -> None:
        self.synthesis, self.config, self.styles, self.shared = generator.synthesis, config, styles.detach(), shared

    @property
    def latent(self) -> Tensor:
        """Where a drag begins: `(1, 1 or dragged_styles, style_dim)`."""
        return self.styles[:, : 1 if self.shared else self.config.dragged_styles].clone()

    def whole(self, latent: Tensor) -> Tensor:
        """All styles of a latent, `(1, styles, style_dim)`."""
        count = self.config.dragged_styles
        return torch.cat((latent.expand(-1, count, -1), self.styles[:, count:]), dim=1)

    def view(self, latent: Tensor) -> View:
        """Feature map and picture of a latent. Only the layers up to the feature map are differentiated."""
        styles = self.whole(latent)
        with frozen(self.synthesis):
            features, coarse = self.synthesis.run(styles, until=self.config.feature_side)
        kept = (features.detach(), coarse.detach())

        @torch.no_grad()
        def picture() -> Tensor:
            if self.config.feature_side == self.config.network.resolution:
                return kept[1]
            return self.synthesis.run(styles.detach(), after=kept)[1]

        return View(features=features, picture=picture, size=self.config.network.resolution)


@torch.no_grad()
def draw_styles(model: DragGan, seed: int, kind: int, psi: float = PSI) -> Tensor:
    """The styles of one drawn picture, `(1, styles, style_dim)`; equal seeds draw equal ones."""
    network, mapping = model.config.network, model.generator.mapping
    like = mapping.mean_style
    latent = torch.randn(1, network.latent_dim, generator=draw_generators(seed, 1)[0]).to(like)
    labels = torch.full((1,), kind, device=like.device) if network.labels else None
    return mapping.truncated(mapping(latent, labels), psi)[:, None].expand(-1, network.styles, -1)


def invert(model: DragGan, picture: np.ndarray, how: Inversion, kind: int | None, told: Told) -> Tensor:
    """Looks for a picture's styles.

    Args:
        model: Its generator and discriminator.
        picture: uint8 `(height, width, 3)`; cut to a square and resized.
        how: Updates and rate.
        kind: Which kind it is; None tries all.
        told: Hears of every update.

    Returns:
        `(1, styles, style_dim)`.
    """
    wanted = square_of(model, picture)
    start = _nearest_styles(model, wanted, kind)
    styles = start.clone().requires_grad_()
    adam = torch.optim.Adam([styles], lr=how.rate, betas=(0.9, 0.99))
    with frozen(model), torch.enable_grad():
        for step in range(how.steps):
            adam.param_groups[0]["lr"] = how.rate * min(1.0, 4 * (1 - step / how.steps))
            made = model.generator.synthesis(styles)
            loss = picture_distance(model.discriminator, made, wanted) + 1e-3 * (styles - start).square().mean()
            (styles.grad,) = torch.autograd.grad(loss, styles)
            adam.step()
            told(step + 1, how.steps + how.tuning, "find the picture")
    return styles.detach()


def tuned(model: DragGan, picture: np.ndarray, styles: Tensor, how: Inversion, told: Told) -> StyleGan2Generator:
    """A copy of the generator whose picture of these styles is nearer; its other pictures stay near what they were."""
    wanted, generator = square_of(model, picture), copy.deepcopy(model.generator)
    adam = torch.optim.Adam(generator.synthesis.parameters(), lr=how.tuning_rate, betas=(0.9, 0.99))
    streams = draw_generators(0, how.tuning)
    with frozen(model), torch.enable_grad():
        for step, stream in enumerate(streams):
            mapping, network = model.generator.mapping, model.config.network
            latent = torch.randn(1, network.latent_dim, generator=stream).to(styles)
            kind = torch.full((1,), step % max(network.labels, 1), device=styles.device) if network.labels else None
            other = mapping.truncated(mapping(latent, kind), PSI)[:, None]
            near = styles + 0.3 * (other - styles)  # a step from the pivot, where the old generator is the teacher
            made = generator.synthesis(torch.cat((styles, near)))
            loss = picture_distance(model.discriminator, made[:1], wanted)
            loss = loss + (made[1:] - model.generator.synthesis(near)).square().mean()
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            told(how.steps + step + 1, how.steps + how.tuning, "tune the generator")
    return generator.requires_grad_(False)


def square_of(model: DragGan, picture: np.ndarray) -> Tensor:
    """A picture as the generator makes them, `(1, 3, resolution, resolution)` in [-1, 1]."""
    square = fit_picture(picture, model.config.network.resolution)
    return pictures_to_tensor(square[None]).to(model.generator.mapping.mean_style)


def kind_number(config: DragGanConfig, kind: str) -> int | None:
    """The number of a kind; None where none is named.

    Raises:
        RequestError: There is no such kind.
    """
    if not kind:
        return None
    if kind not in config.kinds:
        allowed = f"one of {', '.join(config.kinds)}" if config.kinds else "left out: this size draws one kind"
        raise RequestError.of("kind", kind, allowed)
    return config.kinds.index(kind)


def drag_settings(config: DragGanConfig) -> DragSettings:
    """How this size is dragged."""
    return DragSettings(
        rate=config.rate, radius=config.patch, near=config.near, pulled=min(config.near, 1.0),
        tracker=NearestFeature(radius=config.window),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class GanDragger:
    """The model where people drag pictures. See `bottega.processes.dragging.Dragger`."""

    model: DragGan
    inversion: Inversion = Inversion(steps=150)

    @property
    def size(self) -> int:
        """Side of its pictures in pixels."""
        return self.model.config.network.resolution

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds of pictures."""
        return self.model.config.kinds

    @property
    def reads(self) -> bool:
        """Whether it draws sentences."""
        return False

    def begin(self, start: Start, told: Told) -> DragSession:
        """A picture, ready to be dragged."""
        config, generator = self.model.config, self.model.generator
        match start:
            case Drawn(seed=seed, kind=kind):
                styles = draw_styles(self.model, seed, kind_number(config, kind) or 0)
            case Given(picture=picture, kind=kind):
                styles = invert(self.model, picture, self.inversion, kind_number(config, kind), told)
                if self.inversion.tuning:
                    generator = tuned(self.model, picture, styles, self.inversion, told)
            case _:
                raise RequestError("this model draws no sentences; give a seed or a picture")
        canvas = GanCanvas(generator, config, styles)
        return DragSession(canvas, canvas.latent, drag_settings(config))


@torch.no_grad()
def _nearest_styles(model: DragGan, wanted: Tensor, kind: int | None) -> Tensor:
    """Of some drawn pictures the styles of the one that is nearest, `(1, styles, style_dim)`."""
    labels = model.config.network.labels
    tried = list(range(max(labels, 1))) if kind is None else [kind]
    best: tuple[float, Tensor] | None = None
    for number in tried:
        styles = torch.cat([draw_styles(model, seed, number, 0.8) for seed in range(SEARCHED)])
        made = torch.cat([model.generator.synthesis(part, Noise.FIXED) for part in styles.split(8)])
        distances = (made - wanted).square().mean((1, 2, 3))
        nearest = int(distances.argmin())
        if best is None or float(distances[nearest]) < best[0]:
            best = (float(distances[nearest]), styles[nearest : nearest + 1].clone())
    if best is None:
        raise RequestError("this model draws no kind of picture")
    return best[1]
