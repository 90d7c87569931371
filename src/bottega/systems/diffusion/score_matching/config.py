"""Sizes of score networks: the published toy, the published networks for latents, and the four losses side by side."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from bottega.errors import RequestError
from bottega.processes.diffusion import Projection
from bottega.room import Preset


class Method(enum.Enum):
    """How a score network learns."""

    EXACT = "exact"
    """Hyvarinen's loss, with the whole trace."""
    SLICED = "sliced"
    """Random directions."""
    SLICED_VR = "sliced-vr"
    """Random directions, with less variance."""
    DENOISING = "denoising"
    """The noise that was added."""


class Activation(enum.Enum):
    """What bends between the layers."""

    SOFTPLUS = "softplus"
    TANH = "tanh"


@dataclass(frozen=True, kw_only=True, slots=True)
class MlpConfig:
    """Layers from points to vectors.

    Args:
        dim: Numbers in a point.
        hidden: Channels of the layers between.
        activation: What bends between them.
    """

    dim: int
    hidden: tuple[int, ...]
    activation: Activation = Activation.SOFTPLUS

    def __post_init__(self) -> None:
        if not 2 <= self.dim <= MOST_DIMENSIONS:
            raise RequestError.of("dim", self.dim, f"between 2 and {MOST_DIMENSIONS}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MapConfig:
    """Points spread over a picture, which convolutions read.

    Args:
        dim: Numbers in a point.
        size: Side of the picture, a multiple of 16.
        width: Channels of the first convolution; each of the next three has twice as many.
    """

    dim: int
    size: int
    width: int

    def __post_init__(self) -> None:
        if not 2 <= self.dim <= MOST_DIMENSIONS:
            raise RequestError.of("dim", self.dim, f"between 2 and {MOST_DIMENSIONS}")
        if self.size < 16 or self.size % 16:
            raise RequestError.of("size", self.size, "a multiple of 16")


MOST_DIMENSIONS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreMatchingConfig:
    """A score network for each of some losses.

    Args:
        network: Its shape.
        methods: The losses.
        directions: Random directions for each sample, at least 1.
        projection: How they are drawn.
        sigma: Noise of denoising score matching.
    """

    network: MlpConfig | MapConfig
    methods: tuple[Method, ...]
    directions: int = 1
    projection: Projection = Projection.GAUSSIAN
    sigma: float = 0.3

    def __post_init__(self) -> None:
        if not self.methods or len(set(self.methods)) != len(self.methods):
            raise RequestError.of("methods", self.methods, "at least one, each once")
        if self.directions < 1:
            raise RequestError.of("directions", self.directions, "at least 1")
        if not self.sigma > 0:
            raise RequestError.of("sigma", self.sigma, "above 0")


TOY = MlpConfig(dim=2, hidden=(128, 128))


def _latents(dim: int) -> MlpConfig:
    return MlpConfig(dim=dim, hidden=(256, 256), activation=Activation.TANH)


def _published(network: MlpConfig | MapConfig, parameters: int, source: str) -> Preset[ScoreMatchingConfig]:
    config = ScoreMatchingConfig(network=network, methods=(Method.SLICED_VR,))
    return Preset(config=config, parameters=parameters, source=source)


PRESETS = {
    "toy": _published(TOY, 17_154, "ermongroup/ncsn runners/toy_runner.py: 2-128-128-2"),
    "wae-mnist-8": _published(_latents(8), 70_152, "ermongroup/sliced_score_matching configs/wae/mnist_ssm_8.yml"),
    "wae-mnist-32": _published(_latents(32), 82_464, "ermongroup/sliced_score_matching configs/wae/mnist_ssm.yml"),
    "wae-celeba-32": _published(
        MapConfig(dim=32, size=64, width=64), 8_649_760, "ermongroup/sliced_score_matching configs/wae/celeba_ssm.yml"
    ),
    "tiny": Preset(
        config=ScoreMatchingConfig(network=TOY, methods=tuple(Method), projection=Projection.RADEMACHER),
        parameters=4 * 17_154,
        source="the toy, once for each of the four losses",
    ),
}
"""Sizes by name."""
