"""A reader of landmarks that needs no trained network: fixed random convolutions, then two least-squares fits.

It is fitted on pictures whose landmarks are known exactly (a world's), and reads those of others of the same kind, such
as a generator's. The first fit looks at the whole picture; the second looks at a window around each first answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bottega.errors import RequestError

_WINDOW, _MAPS, _RIDGE = 9, 24, 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """A linear map from standardised features."""

    mean: Tensor
    scale: Tensor
    weights: Tensor
    offset: Tensor

    @classmethod
    def of(cls, features: Tensor, wanted: Tensor) -> _Fit:
        """Ridge regression in its dual form, for more features than samples."""
        mean, scale = features.mean(0), features.std(0) + 1e-3
        rows, offset = (features - mean) / scale, wanted.mean(0)
        kernel = rows @ rows.T + _RIDGE * torch.eye(len(rows))
        return cls(mean, scale, rows.T @ torch.linalg.solve(kernel, wanted - offset), offset)

    def __call__(self, features: Tensor) -> Tensor:
        return ((features - self.mean) / self.scale) @ self.weights + self.offset


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkReader:
    """Landmarks of pictures; made by `fit`."""

    whole: _Fit
    around: tuple[_Fit, ...]

    @classmethod
    def fit(cls, pictures: Tensor, places: Tensor) -> LandmarkReader:
        """Learns from pictures with known landmarks.

        Args:
            pictures: `(n, 3, size, size)` in [-1, 1], at least 50.
            places: `(n, landmarks, 2)`: column and row in pixels.

        Raises:
            RequestError: Too few pictures.
        """
        if len(pictures) < 50:
            raise RequestError.of("pictures", len(pictures), "at least 50 to learn landmarks from")
        count = places.shape[1]
        half = len(pictures) // 2  # the second fit learns from first answers as good as those on new pictures
        parts = [(slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))]
        first = torch.empty_like(places)
        seen = _coarse(pictures)
        for known, new in parts:
            first[new] = _Fit.of(seen[known], places[known].flatten(1))(seen[new]).reshape(-1, count, 2)
        windows = _windows(pictures, first)
        around = tuple(_Fit.of(windows[:, i], (places - first)[:, i]) for i in range(count))
        return cls(_Fit.of(seen, places.flatten(1)), around)

    def __call__(self, pictures: Tensor) -> Tensor:
        """The landmarks of pictures `(n, 3, size, size)`, `(n, landmarks, 2)`."""
        first = self.whole(_coarse(pictures)).reshape(len(pictures), -1, 2)
        windows = _windows(pictures, first)
        return first + torch.stack([fit(windows[:, i]) for i, fit in enumerate(self.around)], dim=1)


def _edges(pictures: Tensor) -> Tensor:
    """Random features at half the side, `(n, 24, side / 2, side / 2)`."""
    draw = torch.Generator().manual_seed(0)
    kernel = torch.randn(_MAPS, 4, 5, 5, generator=draw) / 10
    from_ground = (pictures - pictures[:, :, :1, :1]).abs().mean(1, keepdim=True)
    return F.conv2d(torch.cat((2 * from_ground, pictures), dim=1), kernel, stride=2, padding=2).relu()


def _coarse(pictures: Tensor) -> Tensor:
    """Features of whole pictures, `(n, features)`."""
    kernel = torch.randn(64, _MAPS, 3, 3, generator=torch.Generator().manual_seed(1)) / 14
    found = F.conv2d(_edges(pictures), kernel, stride=2, padding=1).relu()
    return F.avg_pool2d(found, 2).flatten(1)


def _windows(pictures: Tensor, places: Tensor) -> Tensor:
    """Features in a window around places, `(n, landmarks, features)`."""
    size, maps = pictures.shape[-1], _edges(pictures)
    line = torch.arange(_WINDOW, dtype=torch.float32) - _WINDOW // 2
    offsets = 2 * torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)
    grid = (places[:, :, None, None] + offsets + 0.5) * (2 / size) - 1
    flat = grid.reshape(len(places), -1, _WINDOW, 2)
    found = F.grid_sample(maps, flat, mode="bilinear", padding_mode="border", align_corners=False)
    return found.reshape(*found.shape[:2], places.shape[1], -1).permute(0, 2, 1, 3).flatten(2)
