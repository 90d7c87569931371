"""SegGPT: the network with its values, colours in and colours out. Source: arXiv:2304.03284, section 3."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bottega.networks import Painter, TargetKind
from bottega.processes.painting import from_paint, to_paint
from bottega.processes.segmentation import Segmenter
from bottega.systems.vision.seggpt.config import SegGptConfig


class SegGpt(nn.Module):
    """In-context segmentation: prompts with coloured targets, and a query, to the query's coloured target."""

    def __init__(self, config: SegGptConfig) -> None:
        super().__init__()
        self.config = config
        self.network = Painter(config.network)
        self.segmenter: Segmenter | None = None  # another system; not part of the state dict

    def connect(self, parts: Mapping[str, Segmenter]) -> None:
        """Takes the segmenter that clicks go to."""
        self.segmenter = parts.get("segmenter")

    @property
    def size(self) -> int:
        """Side of a picture in pixels."""
        return self.config.network.size

    def forward(self, pictures: Tensor, targets: Tensor, masked: Tensor, kinds: Tensor | None = None) -> Tensor:
        """As `Painter.forward`, in the network's values."""
        return self.network(pictures, targets, masked, kinds)

    def paint(self, prompts: Tensor, targets: Tensor, queries: Tensor, kind: TargetKind) -> Tensor:
        """Paints queries by the feature ensemble of their prompts.

        Args:
            prompts: Pictures `(batch, count, 3, size, size)` in [0, 1].
            targets: Their colours, alike.
            queries: Pictures `(batch, 3, size, size)` in [0, 1].
            kind: Whether colours mean classes or single things.

        Returns:
            Colours `(batch, 3, size, size)` in [0, 1].
        """
        kinds = torch.tensor([kind], device=queries.device)
        made = self.network.answer(to_paint(prompts), to_paint(targets), to_paint(queries), kinds)
        return from_paint(made.float()).clamp(0, 1)
