"""What a drag sees of a generative model: a latent's feature map and its picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class View:
    """One latent, seen.

    Args:
        features: `(1, channels, side, side)`, differentiable in the latent.
        picture: Makes the picture `(1, 3, size, size)`, about -1 to 1; differentiates nothing, and may be dear.
        size: Side of the picture in pixels.
    """

    features: Tensor
    picture: Callable[[], Tensor]
    size: int


class Draggable(Protocol):
    """A generative model whose pictures can be dragged: a latent is what a drag changes."""

    def view(self, latent: Tensor) -> View:
        """Looks at a latent, which may require a gradient."""
        ...
