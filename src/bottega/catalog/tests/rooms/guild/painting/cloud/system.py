"""A diffusion model of points in the plane."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bottega.processes.diffusion import X0, Prior, RectifiedFlow
from bottega.results import WordsResult
from bottega.room import Preset, Report, System


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudConfig:
    """Its one number."""

    width: int = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudRequest:
    """Nothing to ask."""

    seed: int = 0
    """The seed."""


class Cloud(nn.Module):
    """A linear denoiser."""

    def __init__(self, config: CloudConfig) -> None:
        super().__init__()
        self.config = config
        self.lines = nn.Sequential(nn.Linear(2, config.width), nn.Linear(config.width, 2))

    def forward(self, x: Tensor, t: Tensor, cond: object = None) -> Tensor:
        """Points to points."""
        return self.lines(x)


def infer(model: Cloud, request: CloudRequest, report: Report) -> WordsResult:
    """Says one number."""
    return WordsResult(
        words=(f"{float(model(torch.ones(1, 2), torch.zeros(1)).sum().detach()):.6f}",), seed=request.seed
    )


def prior(model: Cloud) -> Prior:
    """The cloud for other rooms."""
    return Prior(
        network=model, path=RectifiedFlow(), prediction=X0(), shape=(2,), size=1,
        to_pictures=lambda states: states, from_pictures=lambda pictures: pictures,
    )  # fmt: skip


SYSTEM = System(
    presets={
        "tiny": Preset(config=CloudConfig(), parameters=22, source="ours"),
        "wide": Preset(config=CloudConfig(width=8), parameters=42, source="ours"),
    },
    build=Cloud,
    request=CloudRequest,
    infer=infer,
    tiny_request=CloudRequest(),
    bundled="tiny",
    prior=prior,
)
