"""Painter: the network with the colours of its answers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bottega.networks import Painter
from bottega.processes.painting import from_paint, to_paint
from bottega.systems.vision.painter.config import PainterTasksConfig


class PainterSystem(nn.Module):
    """The network, and the configuration that says what its colours mean."""

    def __init__(self, config: PainterTasksConfig) -> None:
        super().__init__()
        self.config = config
        self.network = Painter(config.network)

    def paint(self, example: Tensor, target: Tensor, query: Tensor) -> Tensor:
        """The query's painting as the example shows it.

        Args:
            example: Pictures `(batch, 3, size, size)` in [0, 1].
            target: Their paintings, alike.
            query: Pictures, alike.

        Returns:
            Paintings `(batch, 3, size, size)`, about [0, 1], float32.
        """
        like = self.network.mask_token
        shown, drawn, asked = (to_paint(part.to(like)) for part in (example, target, query))
        return from_paint(self.network.answer(shown[:, None], drawn[:, None], asked)).float()

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return self.network.mask_token.device
