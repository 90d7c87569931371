"""Linear operators: how a measurement y = A x + noise is made of a state x, as objects with an adjoint.

States are real tensors `(b, ...)`; a measurement is a tensor `(b, ...)` of any shape, complex for `Fourier`. The inner
product everywhere is the real one, Re(sum conj(a) b), so that <A x, y> = <x, A^T y> for every operator (the dot-product
test). What a likelihood needs besides is (A A^T + damping)^-1: a formula where the rows of A are orthogonal, conjugate
gradients elsewhere.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from bottega.errors import RequestError

Damping = float | Tensor
"""A number at least 0; or one for each item of the batch, `(b, 1, ...)` with the measurement's dimensions."""

CG_ITERATIONS = 60
CG_TOLERANCE = 1e-5
"""Where conjugate gradients stop: the residual over the right-hand side."""


class LinearOperator(ABC):
    """A linear map of states to measurements."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """A x."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y."""

    def gram_inverse(self, y: Tensor, damping: Damping = 0.0) -> Tensor:
        """(A A^T + damping)^-1 y, for y in A's range; at damping 0 the pseudo-inverse of A A^T applied to y."""
        return conjugate_gradients(lambda v: self.forward(self.adjoint(v)) + damping * v, y)

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """A^+ y = A^T (A A^T)^+ y: the smallest state whose measurement is nearest to y."""
        return self.adjoint(self.gram_inverse(y))


def inner(a: Tensor, b: Tensor) -> Tensor:
    """The real inner product of each item, `(b,)`."""
    return (a.conj() * b).real.flatten(1).sum(1)


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    right: Tensor,
    *,
    iterations: int = CG_ITERATIONS,
    tolerance: float = CG_TOLERANCE,
) -> Tensor:
    """Solves `apply(x) = right` for a symmetric positive (semi-)definite map, each item of the batch on its own.

    Args:
        apply: The map, `(b, ...)` to `(b, ...)`.
        right: The right-hand side; inside the map's range where the map is singular.
        iterations: Most iterations.
        tolerance: Stops when every residual is this small beside its right-hand side.

    Source: Hestenes and Stiefel, Methods of conjugate gradients for solving linear systems, 1952.
    """
    shape = (-1, *[1] * (right.ndim - 1))
    x, residual = torch.zeros_like(right), right.clone()
    direction, power = residual.clone(), inner(residual, residual)
    enough = tolerance**2 * power
    for _ in range(iterations):
        going = power > enough
        if not bool(going.any()):
            break
        image = apply(direction)
        curvature = inner(direction, image)
        pace = torch.where(going & (curvature > 0), power / curvature.clamp_min(torch.finfo(power.dtype).tiny), 0.0)
        x = x + pace.reshape(shape) * direction
        residual = residual - pace.reshape(shape) * image
        last, power = power, inner(residual, residual)
        turn = power / last.clamp_min(torch.finfo(power.dtype).tiny)
        direction = residual + turn.reshape(shape) * direction
    return x


@final
@dataclass(frozen=True, slots=True, eq=False)
class Mask(LinearOperator):
    """Some entries are known, the others are measured as 0 (inpainting).

    Args:
        known: 1 where known, 0 elsewhere; broadcasts over the batch.
    """

    known: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """The state, 0 where it is unknown."""
        return x * self.known.to(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """The same: a mask is a projection."""
        return y * self.known.to(y)

    def gram_inverse(self, y: Tensor, damping: Damping = 0.0) -> Tensor:
        """A A^T is one on what is known."""
        return self.forward(y) / (1.0 + damping)


@final
@dataclass(frozen=True, slots=True)
class Grey(LinearOperator):
    """The sum of the channels over the root of their number: the first of an orthonormal basis of the colours.

    `(b, c, h, w)` to `(b, 1, h, w)`; colourisation finds the others. Source: arXiv:2011.13456 appendix I.3.
    """

    channels: int = 3

    def forward(self, x: Tensor) -> Tensor:
        """Grey states."""
        return x.sum(1, keepdim=True) / math.sqrt(self.channels)

    def adjoint(self, y: Tensor) -> Tensor:
        """Grey states in colour."""
        return y.repeat_interleave(self.channels, dim=1) / math.sqrt(self.channels)

    def gram_inverse(self, y: Tensor, damping: Damping = 0.0) -> Tensor:
        """A A^T is one."""
        return y / (1.0 + damping)


@final
@dataclass(frozen=True, slots=True)
class BlockAverage(LinearOperator):
    """Means of square blocks (super-resolution): `(b, c, h, w)` to `(b, c, h / factor, w / factor)`.

    Args:
        factor: Side of a block, a divisor of the state's sides.
    """

    factor: int

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise RequestError.of("factor", self.factor, "at least 1")

    def forward(self, x: Tensor) -> Tensor:
        """Means of blocks."""
        if x.shape[-1] % self.factor or x.shape[-2] % self.factor:
            raise RequestError.of("factor", self.factor, f"a divisor of the sides {tuple(x.shape[-2:])}")
        return avg_pool2d(x, self.factor)

    def adjoint(self, y: Tensor) -> Tensor:
        """Each value spread over its block."""
        return y.repeat_interleave(self.factor, -1).repeat_interleave(self.factor, -2) / self.factor**2

    def gram_inverse(self, y: Tensor, damping: Damping = 0.0) -> Tensor:
        """A A^T is 1 / factor^2."""
        return y / (self.factor**-2 + damping)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Blur(LinearOperator):
    """Circular convolution with a kernel, in Fourier space.

    Args:
        kernel: `(k, k)`, odd k, its middle at the pixel itself.
    """

    kernel: Tensor

    def __post_init__(self) -> None:
        if self.kernel.ndim != 2 or not all(side % 2 for side in self.kernel.shape):
            raise RequestError.of("the kernel's shape", tuple(self.kernel.shape), "two odd numbers")

    @classmethod
    def gaussian(cls, std: float, radius: int | None = None) -> Blur:
        """A Gaussian kernel of this standard deviation in pixels, cut at 3 of them."""
        if not 0 < std < math.inf:
            raise RequestError.of("std", std, "above 0 and finite")
        reach = math.ceil(3 * std) if radius is None else radius
        line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / std) ** 2)
        line = line / line.sum()
        return cls(torch.outer(line, line))

    def forward(self, x: Tensor) -> Tensor:
        """Blurred states."""
        return self._filtered(x, self._transfer(x))

    def adjoint(self, y: Tensor) -> Tensor:
        """Correlation with the kernel."""
        return self._filtered(y, self._transfer(y).conj())

    def gram_inverse(self, y: Tensor, damping: Damping = 0.0) -> Tensor:
        """A A^T multiplies frequencies by |transfer|^2; those that float32 cannot tell from lost stay 0."""
        power = self._transfer(y).abs().square() + damping
        lost = power <= torch.finfo(power.dtype).eps
        return self._filtered(y, torch.where(lost, 0.0, 1.0 / power.masked_fill(lost, 1.0)))

    def _transfer(self, x: Tensor) -> Tensor:
        (height, width), kernel = x.shape[-2:], self.kernel.to(x)
        rows, columns = kernel.shape
        if rows > height or columns > width:
            raise RequestError.of("the kernel's shape", (rows, columns), f"at most the state's, {(height, width)}")
        whole = torch.zeros(height, width, dtype=x.dtype, device=x.device)
        whole[:rows, :columns] = kernel
        return torch.fft.rfft2(whole.roll((-(rows // 2), -(columns // 2)), (0, 1)))

    @staticmethod
    def _filtered(x: Tensor, transfer: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(x) * transfer, s=x.shape[-2:])


@final
@dataclass(frozen=True, slots=True, eq=False)
class Fourier(LinearOperator):
    """Frequencies of the unitary 2-D Fourier transform, 0 where they were not measured (magnetic resonance).

    States are real, so a frequency and its mirror image carry the same numbers: A A^T is 1 on symmetric pairs that were
    both measured and 1/2 on a frequency measured alone.

    Args:
        sampled: 1 where measured, `(h, w)`; the frequency 0 at [0, 0], as `torch.fft` orders them.
    """

    sampled: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """The measured frequencies, complex."""
        return torch.fft.fft2(x, norm="ortho") * self.sampled.to(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """The real part of the inverse transform, unmeasured frequencies taken as 0 (zero-filling)."""
        return torch.fft.ifft2(y * self.sampled.to(y.real), norm="ortho").real

    def gram_inverse(self, y: Tensor, damping: Damping = 0.0) -> Tensor:
        """Pairs as sum and difference, of which A A^T keeps the sum; single frequencies by themselves."""
        sampled = self.sampled.to(y.real)
        measured = y * sampled
        paired = sampled * _mirrored(sampled)
        even = 0.5 * (measured + _mirrored(measured).conj())
        damped = torch.as_tensor(damping, dtype=sampled.dtype, device=sampled.device)
        odd = torch.where(damped > 0, (measured - even) / damped, 0.0)
        alone = measured * (1.0 - paired) / (0.5 + damping)
        return paired * (even / (1.0 + damping) + odd) + alone

    @classmethod
    def lines(cls, size: int, count: int, center: int, generator: torch.Generator) -> Fourier:
        """Whole rows of frequencies: the `center` lowest, and others drawn evenly until there are `count`.

        Args:
            size: Side of the states.
            count: Rows measured.
            center: Rows always measured around the frequency 0.
            generator: Picks the others; a CPU generator.
        """
        if not 1 <= center <= count <= size:
            raise RequestError.of("center, count", (center, count), f"1 <= center <= count <= {size}")
        by_frequency = torch.fft.fftfreq(size).abs().argsort(stable=True)
        others = by_frequency[center:][torch.randperm(size - center, generator=generator)[: count - center]]
        sampled = torch.zeros(size, size)
        sampled[torch.cat([by_frequency[:center], others])] = 1.0
        return cls(sampled)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Matrix(LinearOperator):
    """A matrix on flat states: `(b, d)` to `(b, m)`.

    Args:
        matrix: `(m, d)`.
    """

    matrix: Tensor
    _eigen: tuple[Tensor, Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2:
            raise RequestError.of("the matrix's shape", tuple(self.matrix.shape), "(m, d)")
        double = self.matrix.double()
        object.__setattr__(self, "_eigen", torch.linalg.eigh(double @ double.T))

    def forward(self, x: Tensor) -> Tensor:
        """A x."""
        return x @ self.matrix.to(x).T

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y."""
        return y @ self.matrix.to(y)

    def gram_inverse(self, y: Tensor, damping: Damping = 0.0) -> Tensor:
        """By the eigenvectors of A A^T."""
        return damped_inverse(self._eigen, y, damping)


def damped_inverse(eigen: tuple[Tensor, Tensor], y: Tensor, damping: Damping) -> Tensor:
    """(G + damping)^-1 y for rows y `(b, m)` and a positive matrix by its eigenvalues and vectors (float64).

    Eigenvalues below 1e-10 of the largest count as 0, and directions without any value are left out.
    """
    values, vectors = (part.to(y.device) for part in eigen)
    values = torch.where(values > 1e-10 * values.max(), values, 0.0) + damping
    inverse = torch.where(values > 0, 1.0 / values.clamp_min(torch.finfo(values.dtype).tiny), 0.0)
    return ((y.double() @ vectors * inverse) @ vectors.T).to(y.dtype)


def _mirrored(spectrum: Tensor) -> Tensor:
    """The value at the opposite frequency."""
    return spectrum.flip((-2, -1)).roll((1, 1), (-2, -1))
