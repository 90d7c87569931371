"""Where handles went after a step: by their features, by the flow of pictures, or by assumption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from bottega.processes.dragging.losses import features_at, square
from bottega.processes.dragging.view import View


class Tracker(Protocol):
    """Follows handles from one view to the next."""

    def follow(self, before: View, after: View, first: Tensor, points: Tensor, steps: Tensor) -> Tensor:
        """Finds the handles.

        Args:
            before: The picture in which `points` were found.
            after: The picture after a step.
            first: Features of the handles when the drag began, `(n, channels)`.
            points: Handles before, `(n, 2)`.
            steps: The steps that were asked for, `(n, 2)`.

        Returns:
            Handles in `after`, `(n, 2)`.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class NearestFeature:
    """The nearest neighbour, in a window around each handle, of the feature that it had in the beginning.

    Comparing with the first feature, not with the last, keeps errors from adding up.

    Args:
        radius: Half the side of the window, in pixels.

    Source: arXiv:2305.10973, section 3.3.
    """

    radius: float = 12.0

    @property
    def label(self) -> str:
        """What a form shows."""
        return "features"

    def follow(self, before: View, after: View, first: Tensor, points: Tensor, steps: Tensor) -> Tensor:
        """See `Tracker`."""
        window = square(max(self.radius, 1.0), device=points.device)
        places = (points[:, None] + window).clamp(0, after.size - 1)
        features = after.features.detach()
        found = features_at(features, places.reshape(-1, 2), after.size).reshape(*places.shape[:2], -1)
        distances = (found - first[:, None]).norm(dim=2) + 1e-6 * window.norm(dim=1)  # ties stay where they are
        return places[torch.arange(len(points), device=points.device), distances.argmin(1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class OpticalFlow:
    """The flow of the pictures from one step to the next, by Lucas and Kanade's method on halved pictures.

    A baseline: errors add up over the steps, and flat regions have no flow.

    Args:
        radius: Half the side of the window, in pixels.
        levels: Halvings of the picture.
        rounds: Corrections on each.

    Source: B. Lucas and T. Kanade, "An iterative image registration technique", IJCAI 1981; pyramids as in
    J.-Y. Bouguet, "Pyramidal implementation of the Lucas Kanade feature tracker", 2001.
    """

    radius: int = 4
    levels: int = 2
    rounds: int = 5

    @property
    def label(self) -> str:
        """What a form shows."""
        return "optical flow"

    def follow(self, before: View, after: View, first: Tensor, points: Tensor, steps: Tensor) -> Tensor:
        """See `Tracker`."""
        return flow_of_points(before.picture(), after.picture(), points, self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumed:
    """No tracking: every handle is taken to have moved by its step. An ablation."""

    @property
    def label(self) -> str:
        """What a form shows."""
        return "none"

    def follow(self, before: View, after: View, first: Tensor, points: Tensor, steps: Tensor) -> Tensor:
        """See `Tracker`."""
        return (points + steps).clamp(0, after.size - 1)


def flow_of_points(first: Tensor, second: Tensor, points: Tensor, how: OpticalFlow) -> Tensor:
    """Where points of one picture are in another.

    Args:
        first: `(1, 3, size, size)`.
        second: The same shape.
        points: `(n, 2)`.
        how: Window, levels and rounds.

    Returns:
        `(n, 2)`, inside the picture.
    """
    size = first.shape[-1]
    window = square(how.radius, device=points.device)
    pairs = [(_grey(first), _grey(second))]
    for _ in range(how.levels):
        pairs.append((F.avg_pool2d(pairs[-1][0], 2), F.avg_pool2d(pairs[-1][1], 2)))
    move = torch.zeros_like(points)
    for level in range(how.levels, -1, -1):
        old, new = pairs[level]
        side = old.shape[-1]
        here = (points + 0.5) * (side / size) - 0.5
        patch = (here[:, None] + window).reshape(-1, 2)
        slopes = _patches(_slopes(old), patch, side, len(points))  # (n, window, 2)
        matrix = slopes.transpose(1, 2) @ slopes + 1e-4 * torch.eye(2, device=points.device)
        known = _patches(old, patch, side, len(points))
        shift = move * (side / size)
        for _ in range(how.rounds):
            there = patch + shift.repeat_interleave(len(window), 0)
            change = known - _patches(new, there, side, len(points))
            correction = torch.linalg.solve(matrix, slopes.transpose(1, 2) @ change)[..., 0]
            shift = shift + correction.clamp(-1.0, 1.0)
        move = shift * (size / side)
    return (points + move).clamp(0, size - 1)


def _patches(values: Tensor, places: Tensor, side: int, count: int) -> Tensor:
    return features_at(values, places, side).reshape(count, -1, values.shape[1])


def _grey(picture: Tensor) -> Tensor:
    return picture.detach().float().mean(1, keepdim=True)


def _slopes(grey: Tensor) -> Tensor:
    """Central differences along x and y, `(1, 2, side, side)`."""
    wide = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    down = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
    return torch.cat((across, down), dim=1)
