"""The Radon transform: line integrals of a picture at chosen angles (computed tomography), and its inverse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from bottega.errors import RequestError
from bottega.processes.diffusion.operators import Damping, LinearOperator, conjugate_gradients, damped_inverse

DENSE_ROWS = 2048
"""With at most so many line integrals, A A^T is decomposed once; with more, every solve iterates."""


@final
@dataclass(frozen=True, eq=False)
class Radon(LinearOperator):
    """Parallel-beam projections: `(b, c, size, size)` to `(b, c, angles, size)`.

    A projection is the sum of the rows of the picture, turned about pixel `size // 2` with bilinear interpolation: the
    geometry of `skimage.transform.radon(circle=True)`. A picture should vanish outside the inscribed circle.

    Args:
        size: Side of the pictures in pixels.
        angles: Degrees.
    """

    size: int
    angles: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.size < 2:
            raise RequestError.of("size", self.size, "at least 2 px")
        if not self.angles or not all(map(math.isfinite, self.angles)):
            raise RequestError.of("angles", self.angles, "at least one finite number of degrees")

    @classmethod
    def even(cls, size: int, count: int) -> Radon:
        """`count` projections evenly over the half turn."""
        if count < 1:
            raise RequestError.of("projections", count, "at least 1")
        return cls(size, tuple(180.0 * i / count for i in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        """The projections (a sinogram, one row an angle)."""
        if x.shape[-2:] != (self.size, self.size):
            raise RequestError.of("the picture's size", tuple(x.shape[-2:]), f"{(self.size, self.size)}")
        flat = x.reshape(-1, self.size**2).T
        return self._product(self._matrix, flat).T.reshape(*x.shape[:-2], len(self.angles), self.size)

    def adjoint(self, y: Tensor) -> Tensor:
        """Each value spread back along its line."""
        flat = y.reshape(-1, len(self.angles) * self.size).T
        return self._product(self._transposed, flat).T.reshape(*y.shape[:-2], self.size, self.size)

    def gram_inverse(self, y: Tensor, damping: Damping = 0.0) -> Tensor:
        """(A A^T + damping)^-1 y, decomposed once for small sizes."""
        if len(self.angles) * self.size > DENSE_ROWS:
            return conjugate_gradients(lambda v: self.forward(self.adjoint(v)) + damping * v, y)
        flat = y.reshape(-1, len(self.angles) * self.size)
        if isinstance(damping, Tensor):
            damping = damping.expand(*y.shape[:-2], 1, 1).reshape(-1, 1)
        return damped_inverse(self._eigen, flat, damping).reshape(y.shape)

    def filtered_back_projection(self, y: Tensor) -> Tensor:
        """The classical inverse with a ramp filter, 0 outside the inscribed circle: `skimage.transform.iradon`.

        Args:
            y: Sinograms `(b, c, angles, size)` of angles that cover the half turn evenly.

        Returns:
            Pictures `(b, c, size, size)`.

        Source: Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, chapter 3.
        """
        size, reach = self.size, math.ceil(math.sqrt(2) * self.size)  # filtered values also lie outside the detector
        before = reach // 2 - size // 2
        length = max(64, 2 ** math.ceil(math.log2(2 * reach)))
        wide = pad(y, (before, reach - size - before))
        filtered = torch.fft.irfft(torch.fft.rfft(wide, n=length) * _ramp(length).to(y), n=length)[..., :reach]
        across, down = _places(size)
        total = torch.zeros(*y.shape[:-2], size, size, dtype=y.dtype, device=y.device)
        for row, angle in enumerate(self.angles):
            turn = math.radians(angle)
            place = across * math.cos(turn) - down * math.sin(turn) + reach // 2
            total += _between(filtered[..., row, :], place)
        inside = (across**2 + down**2 <= (size // 2) ** 2).to(y)
        return total * inside * (math.pi / (2 * len(self.angles)))

    @cached_property
    def _matrix(self) -> Tensor:
        """The transform as a sparse float64 matrix `(angles * size, size^2)`."""
        rows, columns, weights = [], [], []
        across, down = _places(self.size)
        center = self.size // 2
        detector = (across + center).long()
        for number, angle in enumerate(self.angles):
            turn = math.radians(angle)
            x = math.cos(turn) * across + math.sin(turn) * down + center
            y = -math.sin(turn) * across + math.cos(turn) * down + center
            for right in (0, 1):
                for below in (0, 1):
                    column, row = x.floor() + right, y.floor() + below
                    weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
                    seen = (column >= 0) & (column < self.size) & (row >= 0) & (row < self.size) & (weight > 0)
                    rows.append((number * self.size + detector)[seen])
                    columns.append((row * self.size + column).long()[seen])
                    weights.append(weight[seen])
        shape = (len(self.angles) * self.size, self.size**2)
        places = torch.stack([torch.cat(rows), torch.cat(columns)])
        return torch.sparse_coo_tensor(places, torch.cat(weights), shape, check_invariants=False).coalesce()

    @cached_property
    def _transposed(self) -> Tensor:
        return self._matrix.t().coalesce()

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        gram = torch.sparse.mm(self._matrix, self._transposed.to_dense())
        return torch.linalg.eigh(gram)

    @staticmethod
    def _product(matrix: Tensor, flat: Tensor) -> Tensor:
        return torch.sparse.mm(matrix.to(flat), flat)


def _places(size: int) -> tuple[Tensor, Tensor]:
    """Columns and rows from the middle pixel of a square picture, float64 `(size, size)`."""
    line = torch.arange(size, dtype=torch.float64) - size // 2
    return line.repeat(size, 1), line[:, None].repeat(1, size)


def _between(rows: Tensor, place: Tensor) -> Tensor:
    """Linear interpolation of the last dimension at places `(h, w)`; 0 outside."""
    last = rows.shape[-1] - 1
    low = place.floor().clamp(0, last - 1)
    part = (place - low).to(rows)
    value = torch.lerp(rows[..., low.long()], rows[..., low.long() + 1], part)
    return value * ((place >= 0) & (place <= last)).to(rows)


def _ramp(length: int) -> Tensor:
    """The ramp filter as the transform of its band-limited kernel, which keeps the mean right; `(length / 2 + 1,)`."""
    steps = torch.cat([torch.arange(0, length // 2 + 1), torch.arange(length // 2 - 1, 0, -1)]).double()
    odd = steps % 2 == 1
    kernel = torch.where(odd, -1.0 / (math.pi * steps.clamp_min(1)) ** 2, 0.0)
    kernel[0] = 0.25
    return 2 * torch.fft.rfft(kernel).real
