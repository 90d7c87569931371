"""Distributions of points in the plane that every paper on transport draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum

import torch
from torch import Tensor


class Planar(Enum):
    """A distribution of points, mostly inside [-1, 1]^2."""

    MOONS = "moons"
    """Two interleaved half circles."""
    CHECKERBOARD = "checkerboard"
    """The eight dark fields of a board of four by four."""
    PINWHEEL = "pinwheel"
    """Seven bent arms."""
    EIGHT_NORMALS = "eight normals"
    """Eight small normals on a circle."""
    NORMAL = "normal"
    """One normal of standard deviation a half."""


def planar_points(kind: Planar, count: int, generator: torch.Generator) -> Tensor:
    """Points `(count, 2)`, float32."""
    return _KINDS[kind](count, generator).float()


def _unit(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, dtype=torch.float64)


def _normal(count: int, generator: torch.Generator) -> Tensor:
    return torch.randn(count, 2, generator=generator, dtype=torch.float64)


def _on_circle(angle: Tensor) -> Tensor:
    return torch.stack((angle.cos(), angle.sin()), dim=1)


def _moons(count: int, generator: torch.Generator) -> Tensor:
    upper = (_unit(count, generator) < 0.5).double()[:, None]
    arc = _on_circle(math.pi * _unit(count, generator))
    other = torch.tensor([1.0, 0.5], dtype=torch.float64) - arc
    points = upper * arc + (1 - upper) * other + 0.05 * _normal(count, generator)
    return (points - torch.tensor([0.5, 0.25], dtype=torch.float64)) * 0.6


def _checkerboard(count: int, generator: torch.Generator) -> Tensor:
    column = (4 * _unit(count, generator)).floor()
    row = 2 * (2 * _unit(count, generator)).floor() + column % 2
    inside = torch.stack((_unit(count, generator), _unit(count, generator)), dim=1)
    return (torch.stack((column, row), dim=1) + inside) / 2 - 1


def _pinwheel(count: int, generator: torch.Generator) -> Tensor:
    local = _normal(count, generator) * torch.tensor([0.3, 0.1], dtype=torch.float64)
    local[:, 0] += 1
    angle = 2 * math.pi / 7 * (7 * _unit(count, generator)).floor() + 0.25 * local[:, 0].exp()
    cos, sin = angle.cos(), angle.sin()
    turned = torch.stack((cos * local[:, 0] - sin * local[:, 1], sin * local[:, 0] + cos * local[:, 1]), dim=1)
    return 0.5 * turned


def _eight_normals(count: int, generator: torch.Generator) -> Tensor:
    angle = math.pi / 4 * (8 * _unit(count, generator)).floor()
    return 0.75 * _on_circle(angle) + 0.06 * _normal(count, generator)


_KINDS: dict[Planar, Callable[[int, torch.Generator], Tensor]] = {
    Planar.MOONS: _moons,
    Planar.CHECKERBOARD: _checkerboard,
    Planar.PINWHEEL: _pinwheel,
    Planar.EIGHT_NORMALS: _eight_normals,
    Planar.NORMAL: lambda count, generator: 0.5 * _normal(count, generator),
}
