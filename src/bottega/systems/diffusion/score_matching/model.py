"""Score networks of sliced score matching: plain layers, and convolutions over a learned map."""

from __future__ import annotations

from torch import Tensor, nn

from bottega.errors import RequestError
from bottega.systems.diffusion.score_matching.config import (
    Activation,
    MapConfig,
    Method,
    MlpConfig,
    ScoreMatchingConfig,
)


class MapScore(nn.Module):
    """The score network for latents of pictures: points as pictures, four convolutions, and back.

    Source: `Score` of the authors' models/wae.py.
    """

    def __init__(self, config: MapConfig) -> None:
        super().__init__()
        self.size = config.size
        sizes = [1, *(config.width * 2**i for i in range(4))]
        self.spread = nn.Linear(config.dim, config.size**2)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 5, stride=2, padding=2) for before, after in zip(sizes, sizes[1:], strict=False)
        )
        self.gather = nn.Linear((config.size // 16) ** 2 * sizes[-1], 512)
        self.head = nn.Linear(512, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Points `(batch, dim)` to scores of the same shape."""
        hidden = nn.functional.softplus(self.spread(x)).view(len(x), 1, self.size, self.size)
        for conv in self.convs:
            hidden = nn.functional.softplus(conv(hidden))
        return self.head(nn.functional.softplus(self.gather(hidden.flatten(1))))


class ScoreMatching(nn.Module):
    """One score network for each loss.

    Args:
        config: Its size.
    """

    def __init__(self, config: ScoreMatchingConfig) -> None:
        super().__init__()
        self.config = config
        self.networks = nn.ModuleDict({method.name.lower(): _network(config.network) for method in config.methods})

    def forward(self, x: Tensor, method: Method) -> Tensor:
        """The score at points `(batch, dim)` by the network that learned with this loss.

        Raises:
            RequestError: This size has no such network.
        """
        if method not in self.config.methods:
            there = ", ".join(each.value for each in self.config.methods)
            raise RequestError.of("method", method.value, f"one that this size was trained with: {there}")
        return self.networks[method.name.lower()](x)


def _network(config: MlpConfig | MapConfig) -> nn.Module:
    if isinstance(config, MapConfig):
        return MapScore(config)
    bend = nn.Softplus if config.activation is Activation.SOFTPLUS else nn.Tanh
    sizes = (config.dim, *config.hidden, config.dim)
    layers: list[nn.Module] = []
    for before, after in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(before, after), bend()]
    return nn.Sequential(*layers[:-1])
