"""Typed batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bottega.data.pictures import picture_to_tensor
from bottega.data.source import CaptionedPicture
from bottega.errors import RequestError


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureBatch:
    """Pictures of one size with their captions.

    Args:
        pictures: float32 `(b, 3, h, w)` in [-1, 1].
        captions: `b` texts.
    """

    pictures: Float[Tensor, "b 3 h w"]
    captions: list[str]

    def __len__(self) -> int:
        return len(self.captions)


def collate(samples: Sequence[CaptionedPicture]) -> PictureBatch:
    """Samples as a batch.

    Args:
        samples: At least one; all pictures of one size (see `Fitted`).

    Raises:
        RequestError: No samples, or pictures of several sizes.
    """
    sizes = sorted({sample.picture.shape[:2] for sample in samples})
    if len(sizes) != 1:
        raise RequestError.of("the batch's sizes", sizes, "one (h, w)", "resize the pictures with Fitted(source, ...)")
    pictures = torch.stack([picture_to_tensor(sample.picture) for sample in samples])
    return PictureBatch(pictures=pictures, captions=[sample.caption for sample in samples])
