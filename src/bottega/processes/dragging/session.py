"""A drag as a session: handles and targets in, one step at a time, and back again.

session = DragSession(canvas, latent, DragSettings(rate=2e-3))
session.place(handles=[(20, 30)], targets=[(28, 30)])
while not session.done:
    step = session.step()       # step.points, step.distances, step.picture()
session.retarget([(12, 30)])    # goes on from here, to another place
session.undo(5)                 # five steps back
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.dragging.losses import directions, features_at, motion_loss, stillness_loss
from bottega.processes.dragging.trackers import NearestFeature, Tracker
from bottega.processes.dragging.view import Draggable, View

Points = Sequence[tuple[float, float]]
"""Columns and rows in pixels of the picture, where 0 is the middle of the first pixel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DragSettings:
    """How a picture is dragged; lengths are in pixels of the picture.

    Args:
        rate: Adam's rate on the latent.
        radius: Of the patch around a handle that is pulled.
        stillness: Weight of what may not move (lambda); it counts where there is a mask.
        near: A handle within so much of its target has arrived.
        pulled: A handle further than this from its target is pulled.
        steps: Most steps of one drag.
        tracker: How handles are followed.
        hold: Whether the patch under a handle is held while the one ahead is pulled; without, as an ablation.
    """

    rate: float = 2e-3
    radius: float = 3.0
    stillness: float = 20.0
    near: float = 2.0
    pulled: float = 1.0
    steps: int = 300
    tracker: Tracker = field(default_factory=NearestFeature)
    hold: bool = True

    def __post_init__(self) -> None:
        for name, low in (("rate", 0.0), ("radius", 0.0), ("stillness", 0.0), ("near", 0.0), ("pulled", 0.0)):
            if not getattr(self, name) >= low:
                raise RequestError.of(name, getattr(self, name), f"at least {low:g}")
        if self.steps < 1:
            raise RequestError.of("steps", self.steps, "at least 1")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DragStep:
    """Where a drag is.

    Args:
        number: Steps since handles were placed, from 0.
        points: Handles, float32 `(n, 2)`.
        distances: From handles to targets, in pixels, `(n,)`.
        loss: Of the step that led here; 0 at the start.
        done: Whether every handle has arrived, or no steps are left.
        picture: Makes the picture `(1, 3, size, size)`, about -1 to 1.
        near: A handle within so much of its target has arrived, in pixels.
    """

    number: int
    points: Tensor
    distances: Tensor
    loss: float
    done: bool
    picture: Callable[[], Tensor]
    near: float

    @property
    def arrived(self) -> bool:
        """Whether every handle is there; a drag may also end for want of steps."""
        return bool((self.distances <= self.near).all())


@dataclass(frozen=True, slots=True, eq=False)
class _Moment:
    """Everything that a step changes."""

    latent: Tensor
    mean: Tensor
    power: Tensor
    updates: int
    points: Tensor
    number: int


class DragSession:
    """A latent that is dragged.

    Args:
        model: Looks at latents. It is asked for gradients in the latent only.
        latent: Where to start, of any shape.
        settings: How.
    """

    def __init__(self, model: Draggable, latent: Tensor, settings: DragSettings | None = None) -> None:
        self.model, self.settings = model, DragSettings() if settings is None else settings
        self._latent = latent.detach().clone().requires_grad_()
        self._adam = self._fresh_adam()
        none = torch.zeros(0, 2, device=latent.device)
        self._points, self._targets, self._first = none, none, none
        self._start: Tensor | None = None
        self._movable: Tensor | None = None
        self._number, self._updates = 0, 0
        self._past: list[_Moment] = []
        self._now: DragStep | None = None
        self._view: View = self._look()

    @property
    def latent(self) -> Tensor:
        """The latent as it is now, detached."""
        return self._latent.detach().clone()

    @property
    def state(self) -> DragStep:
        """Where the drag is."""
        return self._described(0.0) if self._now is None else self._now

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.state.done

    @property
    def can_undo(self) -> int:
        """How many steps can be taken back."""
        return len(self._past)

    def place(self, handles: Points, targets: Points, mask: Tensor | None = None) -> DragStep:
        """Begins a drag from the picture as it is now.

        Args:
            handles: What to drag.
            targets: Where to, one for each handle.
            mask: `(size, size)`, 1 where the picture may move; None leaves all free.

        Raises:
            RequestError: The counts differ, a point is outside the picture, or the mask has another size.
        """
        self._check(handles, targets)
        size = self._view.size
        if mask is not None and tuple(mask.shape) != (size, size):
            raise RequestError.of("mask", tuple(mask.shape), f"{size} x {size}, as the picture")
        like = self._points
        self._points = torch.tensor(handles, dtype=torch.float32, device=like.device).reshape(-1, 2)
        self._targets = torch.tensor(targets, dtype=torch.float32, device=like.device).reshape(-1, 2)
        features = self._view.features.detach()
        self._first, self._start = features_at(features, self._points, size), features
        self._movable = None if mask is None else mask.to(like.device, torch.float32)
        self._number, self._now, self._past = 0, None, []
        return self.state

    def retarget(self, targets: Points) -> DragStep:
        """Sends the same handles elsewhere; what they looked like at first stays what is followed.

        Raises:
            RequestError: The counts differ, or a point is outside the picture.
        """
        self._check([(float(x), float(y)) for x, y in self._points.tolist()], targets)
        self._targets = torch.tensor(targets, dtype=torch.float32, device=self._points.device).reshape(-1, 2)
        self._number, self._now = 0, None
        return self.state

    def step(self) -> DragStep:
        """Moves the latent once, then finds the handles again.

        Raises:
            RequestError: No handles were placed.
        """
        if not len(self._points) or self._start is None:
            raise RequestError("nothing to drag: place handles first")
        if self.state.done:
            return self.state
        self._past.append(self._moment())
        settings, before, points = self.settings, self._view, self._points
        steps = directions(points, self._targets, settings.pulled)
        loss = motion_loss(before.features, points, steps, settings.radius, before.size, hold=settings.hold)
        if self._movable is not None:
            loss = loss + settings.stillness * stillness_loss(before.features, self._start, self._movable)
        (slope,) = torch.autograd.grad(loss, self._latent)
        self._latent.grad = slope
        self._adam.step()
        self._number, self._updates = self._number + 1, self._updates + 1
        self._view = self._look()
        self._points = settings.tracker.follow(before, self._view, self._first, points, steps)
        self._now = self._described(float(loss.detach()))
        return self._now

    def undo(self, steps: int | None = None) -> DragStep:
        """Takes steps back; None takes back all since the handles were placed."""
        count = len(self._past) if steps is None else min(steps, len(self._past))
        if count > 0:
            moment = self._past[-count]
            del self._past[-count:]
            self._latent = moment.latent.clone().requires_grad_()
            self._adam = self._fresh_adam()
            if moment.updates:
                kept = {"step": torch.tensor(float(moment.updates)), "exp_avg": moment.mean.clone(),
                        "exp_avg_sq": moment.power.clone()}  # fmt: skip
                self._adam.state[self._latent] = kept
            self._points, self._number, self._updates = moment.points, moment.number, moment.updates
            self._view, self._now = self._look(), None
        return self.state

    def _fresh_adam(self) -> torch.optim.Adam:
        return torch.optim.Adam([self._latent], lr=self.settings.rate)

    def _look(self) -> View:
        with torch.enable_grad():
            return self.model.view(self._latent)

    def _described(self, loss: float) -> DragStep:
        distances, near = (self._targets - self._points).norm(dim=1), self.settings.near
        done = bool((distances <= near).all()) or self._number >= self.settings.steps
        return DragStep(
            number=self._number, points=self._points.clone(), distances=distances, loss=loss, done=done,
            picture=self._view.picture, near=near,
        )  # fmt: skip

    def _moment(self) -> _Moment:
        kept = self._adam.state.get(self._latent, {})
        empty = torch.zeros(0)
        return _Moment(
            latent=self._latent.detach().clone(),
            mean=kept.get("exp_avg", empty).clone(),
            power=kept.get("exp_avg_sq", empty).clone(),
            updates=self._updates,
            points=self._points,
            number=self._number,
        )

    def _check(self, handles: Points, targets: Points) -> None:
        if len(handles) != len(targets):
            raise RequestError(f"{len(handles)} handles and {len(targets)} targets: each handle needs a target")
        if not handles:
            raise RequestError("there are no handles; place at least one, with its target")
        size = self._view.size
        for name, points in (("handle", handles), ("target", targets)):
            for x, y in points:
                if not (-0.5 <= x <= size - 0.5 and -0.5 <= y <= size - 0.5):
                    raise RequestError.of(name, f"{x:g},{y:g}", f"inside the picture, 0 to {size - 1}")


def read_points(name: str, text: str) -> list[tuple[float, float]]:
    """Points as people type them, "x,y x,y".

    Args:
        name: What they are, for the error.
        text: Columns and rows in pixels.

    Raises:
        RequestError: A point is not two numbers.
    """
    found = []
    for part in text.split():
        try:
            x, y = (float(number) for number in part.split(","))
        except ValueError as error:
            raise RequestError.of(name, part, 'columns and rows like "12,30 40,31"') from error
        found.append((x, y))
    return found
