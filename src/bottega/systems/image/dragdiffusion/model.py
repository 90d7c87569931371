"""The room: a diffusion model of another room and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from bottega.errors import WeightsError
from bottega.processes.diffusion import Prior
from bottega.systems.image.dragdiffusion.config import DragDiffusionConfig


class DragDiffusion(nn.Module):
    """Drags in a connected diffusion model; has no parameters."""

    def __init__(self, config: DragDiffusionConfig) -> None:
        super().__init__()
        self.config = config
        self.connected: Prior | None = None

    def connect(self, parts: Mapping[str, Prior]) -> None:
        """Takes the diffusion model that is dragged."""
        self.connected = parts["prior"]

    @property
    def prior(self) -> Prior:
        """The diffusion model that is dragged.

        Raises:
            WeightsError: None was connected.
        """
        if self.connected is None:
            where = f"load this room by `bottega.load` ({self.config.prior})"
            raise WeightsError(f"no diffusion model to drag is connected; {where}")
        return self.connected
