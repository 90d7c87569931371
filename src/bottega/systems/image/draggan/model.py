"""The networks of DragGAN: a StyleGAN2 generator, and the discriminator that it was trained against."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from bottega.networks import StyleGan2Discriminator, StyleGan2Generator
from bottega.systems.image.draggan.config import DragGanConfig


class DragGan(nn.Module):
    """What is dragged. Only training needs the discriminator; it is kept so that training can go on."""

    def __init__(self, config: DragGanConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = StyleGan2Generator(config.network)
        self.discriminator = StyleGan2Discriminator(config.network)


@contextmanager
def frozen(*parts: nn.Module) -> Iterator[None]:
    """Within the context no gradients of these modules' parameters are computed."""
    parameters = [p for part in parts for p in part.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
