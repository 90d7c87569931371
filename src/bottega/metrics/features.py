"""Named feature networks. A distance between sets of pictures means nothing without the name of its features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, conv2d, pad

from bottega.errors import RequestError


@runtime_checkable
class FeatureNetwork(Protocol):
    """What set metrics compare pictures by.

    Its name belongs to every figure computed with it: "Fréchet distance (pixels-8)". The name FID is kept for the
    Inception network of Heusel et al. (arXiv:1706.08500) and is used for no other.
    """

    @property
    def name(self) -> str:
        """Names the features in reports."""
        ...

    def features(self, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """One vector for each picture; pictures in [-1, 1]."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelFeatures:
    """Features without weights: mean colours on a grid, and a histogram of gradient directions in each cell.

    Layout and colour are seen, meaning is not: use it to compare runs on one data set, not across data sets.

    Args:
        grid: Cells along each side, at least 1.
        directions: Bins of gradient direction over the full circle; 0 for colours alone.
    """

    grid: int = 8
    directions: int = 8

    def __post_init__(self) -> None:
        if self.grid < 1:
            raise RequestError.of("grid", self.grid, "at least 1")
        if self.directions < 0:
            raise RequestError.of("directions", self.directions, "at least 0")

    @property
    def name(self) -> str:
        """Such as "pixels-8x8-8": the grid and the number of directions."""
        return f"pixels-{self.grid}x{self.grid}-{self.directions}"

    def features(self, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """`grid * grid * (3 + directions)` numbers for each picture."""
        pictures = pictures.detach().float()
        colours = adaptive_avg_pool2d(pictures, self.grid)
        if self.directions == 0:
            return colours.flatten(1)
        return torch.cat([colours, adaptive_avg_pool2d(self._gradients(pictures), self.grid)], dim=1).flatten(1)

    def _gradients(self, pictures: Tensor) -> Tensor:
        """Gradient magnitude of the mean of the channels, in one plane for each direction: `(b, directions, h, w)`."""
        grey = pictures.mean(dim=1, keepdim=True)
        sobel = grey.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
        padded = pad(grey, (1, 1, 1, 1), mode="replicate")
        across, down = conv2d(padded, torch.stack([sobel, sobel.T])[:, None]).unbind(dim=1)
        turns = torch.atan2(down, across) / (2 * torch.pi)  # [-1/2, 1/2]
        bins = (turns * self.directions).round().long() % self.directions  # an upright edge lies mid-bin, not between
        magnitude = torch.hypot(across, down)[:, None]
        return torch.zeros_like(magnitude).repeat(1, self.directions, 1, 1).scatter_(1, bins[:, None], magnitude)


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingFeatures:
    """Any embedding of pictures as a feature network, under the name it is to be reported by.

    Args:
        name: Names the network and its weights, such as "clip-vit-b-32".
        embed: Pictures `(b, 3, h, w)` in [-1, 1] to vectors `(b, d)`.
        batch_size: Pictures embedded at a time.
    """

    name: str
    embed: Callable[[Tensor], Tensor]
    batch_size: int = 64

    def features(self, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """The embeddings, on the CPU and without gradients."""
        with torch.no_grad():
            return torch.cat([self.embed(part).detach().float().cpu() for part in pictures.split(self.batch_size)])
