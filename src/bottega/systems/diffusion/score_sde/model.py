"""The network with its SDE, told time as the path counts it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bottega.errors import RequestError
from bottega.networks import Ncsnpp
from bottega.processes.diffusion import VeGeometric
from bottega.systems.diffusion.score_sde.config import ScoreSdeConfig


class ScoreSde(nn.Module):
    """A score network as a predictor of noise: `(x_t, t, None) -> noise`, the score being -noise / sigma."""

    def __init__(self, config: ScoreSdeConfig) -> None:
        super().__init__()
        self.config = config
        self.network = Ncsnpp(config.network)

    def forward(self, x: Tensor, t: Tensor, condition: object = None) -> Tensor:
        """The noise in states `(b, channels, size, size)` at times `(b,)` of the path, of x's shape.

        Raises:
            RequestError: A condition was given; these models take none.
        """
        if condition is not None:
            raise RequestError("a score SDE model takes no condition; use guidance by a likelihood instead")
        if not isinstance(self.config.sde, VeGeometric):
            return self.network(x, 999.0 * t)
        sigma = self.config.sde.sigma(t).to(torch.float32)
        return self.network(x, sigma) * -sigma.to(x.dtype).reshape(-1, 1, 1, 1)

    def to_pictures(self, states: Tensor) -> Tensor:
        """States to pictures `(b, 3, size, size)` in [-1, 1]."""
        return states if self.config.network.centred else 2.0 * states - 1.0

    def from_pictures(self, pictures: Tensor) -> Tensor:
        """The inverse of `to_pictures`."""
        return pictures if self.config.network.centred else 0.5 * pictures + 0.5
