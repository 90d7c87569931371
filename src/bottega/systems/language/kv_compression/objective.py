"""What the reader is trained to say."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bottega.systems.language.kv_compression.model import ANSWERS, Reader


def reading_loss(reader: Reader, pictures: Tensor, words: Tensor) -> Tensor:
    """The mean negative log-likelihood of the right group, and of the right class behind it, in nats.

    Args:
        reader: The reader.
        pictures: `(batch, 3, size, size)` in [-1, 1].
        words: The right ids among `WORDS`, `(batch, 2)`.
    """
    logits = reader(pictures, words[:, 0]).float()
    parts = [
        F.cross_entropy(logits[:, place, allowed], words[:, place] - allowed.start)
        for place, allowed in enumerate(ANSWERS)
    ]
    return torch.stack(parts).mean()
