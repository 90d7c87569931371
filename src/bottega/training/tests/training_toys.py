"""Small recipes that the training tests share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bottega.training import FitSettings, TrainState, adamw, decay_groups, descend, sample_generators

SAMPLES = 48


class Net(nn.Module):
    """A residual network with a list of blocks, a norm, dropout, and one output used twice (shared weights)."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 16)
        self.blocks = nn.ModuleList([nn.Linear(16, 16) for _ in range(3)])
        self.norm = nn.LayerNorm(16)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(16, 2)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.embed(x)
        for block in self.blocks:
            x = x + nn.functional.gelu(block(x))
        return self.head(self.dropout(self.norm(x)))


class Regression:
    """Squares of the first two inputs, with noise on the inputs."""

    def __init__(self, *, dropout: float = 0.1, noise: float = 0.05, per_sample: bool = False) -> None:
        generator = torch.Generator().manual_seed(0)
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            self.model = Net(dropout)
        self.inputs = torch.randn(SAMPLES, 4, generator=generator)
        self.targets = self.inputs[:, :2] ** 2
        self.noise = noise
        self.per_sample = per_sample

    def __len__(self) -> int:
        return SAMPLES

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        return decay_groups(self.model, settings)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> dict[str, Tensor]:
        if self.per_sample:
            noise = torch.stack([torch.randn(4, generator=own) for own in sample_generators(generator, indices)])
        else:
            noise = torch.randn(len(indices), 4, generator=generator)
        return {"x": self.inputs[indices] + self.noise * noise, "y": self.targets[indices]}

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        return (self.model(batch["x"]) - batch["y"]).square().mean()

    def step(self, state: TrainState, batch: dict[str, Tensor]) -> Mapping[str, Tensor]:
        return descend(state, batch, self.loss)


class Adversaries:
    """A generator of points on a circle and its critic: two optimizers, two updates a step."""

    def __init__(self) -> None:
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            self.model = nn.ModuleDict(
                {
                    "generator": nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2)),
                    "critic": nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1)),
                }
            )
        angles = torch.linspace(0, 6.28, SAMPLES)
        self.points = torch.stack([angles.cos(), angles.sin()], dim=1)

    def __len__(self) -> int:
        return SAMPLES

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        raise AssertionError("a recipe with optimizers of its own is not asked for groups")

    def optimizers(self, settings: FitSettings) -> dict[str, torch.optim.Optimizer]:
        return {
            "generator": adamw(decay_groups(self.model["generator"], settings), settings),
            "critic": torch.optim.SGD(self.model["critic"].parameters(), lr=0.05, momentum=0.5),
        }

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> dict[str, Tensor]:
        latent = torch.stack([torch.randn(4, generator=own) for own in sample_generators(generator, indices)])
        return {"real": self.points[indices], "latent": latent}

    def critic_loss(self, batch: dict[str, Tensor]) -> Tensor:
        fake = self.model["generator"](batch["latent"]).detach()
        real_score, fake_score = self.model["critic"](batch["real"]), self.model["critic"](fake)
        return nn.functional.softplus(-real_score).mean() + nn.functional.softplus(fake_score).mean()

    def generator_loss(self, batch: dict[str, Tensor]) -> Tensor:
        return nn.functional.softplus(-self.model["critic"](self.model["generator"](batch["latent"]))).mean()

    def step(self, state: TrainState, batch: dict[str, Tensor]) -> Mapping[str, Tensor]:
        critic = descend(state, batch, self.critic_loss, "critic")
        generator = descend(state, batch, self.generator_loss, "generator")
        return {"loss": generator["loss"], "loss_critic": critic["loss"], "grad_norm": generator["grad_norm"]}

    def preview(self, state: TrainState) -> Mapping[str, np.ndarray]:
        latent = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
        points = self.model["generator"](latent)
        grey = ((points.clamp(-1, 1) + 1) * 127).to(torch.uint8).numpy()
        return {"points": np.repeat(grey[..., None], 3, axis=2)}


def digests(checkpoint: Path) -> dict[str, str]:
    """SHA-256 of every tensor file of a checkpoint."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in checkpoint.glob("*.safetensors")}
