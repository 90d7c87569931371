"""The room: a diffusion model of another room and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from bottega.errors import WeightsError
from bottega.processes.diffusion import Prior
from bottega.systems.diffusion.fast_sampling.config import FastSamplingConfig


class FastSampling(nn.Module):
    """Samples a connected diffusion model; has no parameters."""

    def __init__(self, config: FastSamplingConfig) -> None:
        super().__init__()
        self.config = config
        self._parts: dict[str, Prior] = {}

    def connect(self, parts: Mapping[str, Prior]) -> None:
        """Takes the diffusion model that is sampled."""
        self._parts = dict(parts)

    @property
    def prior(self) -> Prior:
        """The diffusion model that is sampled.

        Raises:
            WeightsError: None was connected.
        """
        if "prior" not in self._parts:
            raise WeightsError(
                f"no diffusion model is connected; load this room by `bottega.load` ({self.config.prior})"
            )
        return self._parts["prior"]
