"""The two losses of a drag: what is under a handle shall move towards its target, and what may not move shall not.

Points are columns and rows `(x, y)` in the pixels of a picture, where 0 is the middle of the first pixel. Feature maps
may have any side: they cover the same picture.

Source: arXiv:2305.10973, section 3.2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def features_at(features: Tensor, points: Tensor, size: int) -> Tensor:
    """A feature map at points, by bilinear interpolation.

    Args:
        features: `(1, channels, side, side)`.
        points: `(n, 2)`, in pixels of the picture; those outside are at its edge.
        size: Side of the picture.

    Returns:
        `(n, channels)`.
    """
    grid = ((points + 0.5) * (2.0 / size) - 1.0).to(features)
    found = F.grid_sample(features, grid[None, None], mode="bilinear", padding_mode="border", align_corners=False)
    return found[0, :, 0].T


def disc(radius: float, *, device: torch.device | None = None) -> Tensor:
    """Whole steps from a point to all points within a radius, `(n, 2)`; the point itself is always there."""
    reach = int(radius)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32, device=device)
    grid = torch.cartesian_prod(steps, steps)
    return grid[grid.square().sum(1) <= max(radius, 0.0) ** 2]


def square(radius: float, *, device: torch.device | None = None) -> Tensor:
    """Whole steps from a point to all points of a square of side `2 radius + 1`, `(n, 2)`."""
    steps = torch.arange(-int(radius), int(radius) + 1, dtype=torch.float32, device=device)
    return torch.cartesian_prod(steps, steps)


def directions(points: Tensor, targets: Tensor, reached: float) -> Tensor:
    """Unit steps from points to their targets, `(n, 2)`; zero for those that are within `reached` pixels."""
    away = targets - points
    distance = away.norm(dim=1, keepdim=True)
    return torch.where(distance > reached, away / distance.clamp(min=1e-7), torch.zeros_like(away))


def motion_loss(
    features: Tensor, points: Tensor, steps: Tensor, radius: float, size: int, *, hold: bool = True
) -> Tensor:
    """How much the patches one step ahead differ from those under the handles: a sum over handles of mean distances.

    Args:
        features: `(1, channels, side, side)`, differentiable in what is dragged.
        points: Handles `(n, 2)`.
        steps: Unit steps `(n, 2)`; a handle with a step of zero is left out.
        radius: Of a patch, in pixels.
        size: Side of the picture.
        hold: Whether the patch under the handle stays as it is, so that only the one ahead is pulled. Without, as an
            ablation, both are pulled towards each other.

    Returns:
        A scalar; zero where nothing moves.
    """
    moving = steps.abs().sum(1) > 0
    patch = disc(radius, device=points.device)
    here = (points[moving, None] + patch).reshape(-1, 2)
    ahead = (points[moving, None] + steps[moving, None] + patch).reshape(-1, 2)
    if not len(here):
        return features.sum() * 0.0
    present = features_at(features.detach() if hold else features, here, size)
    return (features_at(features, ahead, size) - present).abs().mean() * moving.sum()


def stillness_loss(features: Tensor, first: Tensor, movable: Tensor) -> Tensor:
    """How much a feature map has changed outside the region that may move: a mean distance over the whole map.

    Args:
        features: `(1, channels, side, side)`.
        first: The same before the drag.
        movable: `(size, size)`, 1 where the picture may move.
    """
    still = 1.0 - F.interpolate(movable[None, None].to(features), features.shape[-2:], mode="area")
    return ((features - first).abs() * still).mean()
