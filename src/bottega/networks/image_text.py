"""A model of pictures and sentences as others see it: two functions into one space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageText:
    """An encoder of pictures and sentences whose features can be compared.

    Args:
        pictures: Pictures `(batch, 3, height, width)` in [-1, 1], of any size, to features `(batch, width)` of
            length 1. They are stretched to squares; cut out what should be seen. Gradients reach the pictures.
        texts: Sentences to features `(texts, width)` of length 1.
        width: Channels of a feature.
        size: Side of the pictures that it was trained on, in pixels.
        scale: What similarities are multiplied by before a softmax over sentences.
    """

    pictures: Callable[[Tensor], Tensor]
    texts: Callable[[Sequence[str]], Tensor]
    width: int
    size: int
    scale: float | Tensor

    def chances(self, pictures: Tensor, texts: Sequence[str]) -> Tensor:
        """The chance of each sentence for each picture when one of them is right, `(batch, texts)`."""
        similarity = self.pictures(pictures) @ self.texts(texts).T
        return (self.scale * similarity).softmax(-1)
