"""Training without data: states on the teacher's own trajectories, each of which goes on from update to update.

Source: arXiv:2406.05768 ("training-data-free": latents come from the teacher's sampling).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from bottega.errors import RequestError
from bottega.processes.distillation.conditions import choose_rows, leaves, map_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """Some rows of a pool.

    Args:
        rows: Which, `(b,)`.
        x: Their states `(b, ...)`.
        place: How many steps of the teacher each has taken, `(b,)`.
        cond: Their conditions.
        scale: Their strengths of guidance `(b,)`.
    """

    rows: Tensor
    x: Tensor
    place: Tensor
    cond: Any
    scale: Tensor


@final
class TrajectoryPool(nn.Module):
    """States of many trajectories, each at another noise level. A training step moves some of them further.

    The teacher's steps are those that the loss needs anyway, so that states cost nothing. A trajectory at its end
    starts anew with new noise and a new condition. First lives are cut short, by a different number of steps each, so
    that the pool soon covers all noise levels evenly. Buffers hold everything: a checkpoint goes on exactly.

    Args:
        noise: First states `(rows, *shape)`: pure noise at the first time.
        cond: First conditions, one row each.
        scale: First strengths `(rows,)`.
        steps: Steps of a trajectory.
    """

    state: Tensor
    place: Tensor
    left: Tensor
    scale: Tensor

    def __init__(self, noise: Tensor, cond: Any, scale: Tensor, steps: int) -> None:
        super().__init__()
        if steps < 1:
            raise RequestError.of("steps", steps, "at least 1")
        self.steps = steps
        rows = torch.arange(len(noise), device=noise.device)
        self._structure = cond
        self.register_buffer("state", noise.clone())
        self.register_buffer("place", torch.zeros_like(rows))
        self.register_buffer("left", rows * steps // len(noise) + 1)
        self.register_buffer("scale", scale.clone())
        for number, leaf in enumerate(leaves(cond)):
            self.register_buffer(f"cond_{number}", leaf.clone())

    def visit(self, turn: int, count: int) -> Visit:
        """The rows of turn `turn`: `count` of them, in order, over and over."""
        total = len(self.state)
        rows = (torch.arange(count, device=self.state.device) + turn * count) % total
        cond = map_rows(lambda leaf: leaf[rows], self._cond())
        return Visit(rows=rows, x=self.state[rows], place=self.place[rows], cond=cond, scale=self.scale[rows])

    @torch.no_grad()
    def move(self, visit: Visit, ahead: Tensor, place: Tensor, noise: Tensor, cond: Any, scale: Tensor) -> None:
        """Puts rows further; those at their end start anew.

        Args:
            visit: The rows.
            ahead: Their states further on.
            place: How many steps each has taken now, `(b,)`.
            noise: Pure noise, for rows that start anew.
            cond: Conditions for those.
            scale: Strengths for those.
        """
        rows, left = visit.rows, self.left[visit.rows] - (place - visit.place)
        over = (left <= 0) | (place >= self.steps)
        self.state[rows] = choose_rows(over, noise, ahead.to(self.state))
        self.place[rows] = torch.where(over, 0, place)
        self.left[rows] = torch.where(over, self.steps, left)
        self.scale[rows] = torch.where(over, scale.to(self.scale), visit.scale)
        for number, leaf in enumerate(leaves(choose_rows(over, cond, visit.cond))):
            self.get_buffer(f"cond_{number}")[rows] = leaf

    def _cond(self) -> Any:
        numbers = iter(range(len(leaves(self._structure))))
        return map_rows(lambda _: self.get_buffer(f"cond_{next(numbers)}"), self._structure)
