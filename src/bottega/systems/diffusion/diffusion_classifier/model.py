"""The classifier: a diffusion model and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from bottega.errors import WeightsError
from bottega.processes.diffusion import Prior
from bottega.systems.diffusion.diffusion_classifier.config import DiffusionClassifierConfig


class DiffusionClassifier(nn.Module):
    """A classifier without parameters of its own."""

    def __init__(self, config: DiffusionClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self._prior: Prior | None = None

    def connect(self, parts: Mapping[str, Prior]) -> None:
        """Takes the diffusion model that is asked."""
        self._prior = parts["prior"]

    @property
    def prior(self) -> Prior:
        """The diffusion model that is asked.

        Raises:
            WeightsError: None was connected.
        """
        if self._prior is None:
            raise WeightsError("this classifier has no diffusion model to ask; load it by `bottega.load`")
        return self._prior
