"""Which patches a tower reads while it learns: a random few of each picture.

Source: Li et al., "FLIP", arXiv:2212.00794, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from bottega.errors import RequestError


def kept_count(patches: int, dropped: float) -> int:
    """How many patches stay of so many: the whole part of the share that is not dropped, and at least one.

    Raises:
        RequestError: `dropped` is not in [0, 1).
    """
    if not 0 <= dropped < 1:
        raise RequestError.of("dropped", dropped, "at least 0 and below 1")
    return max(1, int(patches * (1 - dropped)))


def kept_patches(patches: int, dropped: float, generators: Sequence[Generator]) -> Tensor:
    """Numbers of the patches that stay, drawn evenly for each sample.

    Args:
        patches: Patches of a picture.
        dropped: Share of them that is left out; EVA-CLIP drops 0.5.
        generators: One a sample, as `training.sample_generators` makes them.

    Returns:
        int64 `(samples, kept)`, rising, each number once.
    """
    kept = kept_count(patches, dropped)
    rows = [torch.randperm(patches, generator=generator)[:kept] for generator in generators]
    return torch.stack(rows).sort(dim=1).values
