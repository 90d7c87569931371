"""What is masked while training, and the loss on it. Source: arXiv:2212.02499, sections 3.2 and 4.1."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from bottega.processes.masked import BlockMasks
from bottega.processes.painting.canvas import unknown_half

BETA = 0.01
"""Where the smooth L1 loss goes from a parabola to a line, in the network's units."""


def training_masks(masks: BlockMasks, halves: float, generators: Sequence[Generator]) -> Tensor:
    """Masks of a batch: the query's whole target, as at inference, or blocks anywhere.

    Args:
        masks: Blocks on the grid of both pictures; the authors' cover half of it.
        halves: Share of samples whose query is unknown altogether; the authors' 0.1.
        generators: One a sample; their state is neither read nor moved.

    Returns:
        bool `(generators, masks.rows, masks.columns)`, True where the network has to paint.
    """
    half = unknown_half(masks.rows // 2, masks.columns)[0]
    drawn = []
    for generator in generators:
        random = Random(generator.initial_seed() ^ 0x5EED)
        drawn.append(half if random.random() < halves else masks.draw(random))
    return torch.stack(drawn)


def painting_loss(
    made: Tensor,
    targets: Tensor,
    masked: Tensor,
    valid: Tensor | None = None,
    *,
    eps: float = 0.0,
    beta: float = BETA,
) -> Tensor:
    """The mean smooth L1 distance over channels of pixels that are masked and valid.

    Args:
        made: What the network painted, `(batch, 3, height, width)`.
        targets: What it should have painted, alike.
        masked: bool `(batch or 1, rows, columns)` patches.
        valid: Weights of pixels, of a shape that expands to that of `made`; None for ones.
        eps: Added to the sum of weights; Painter's 0.01.
        beta: Where the loss goes from a parabola to a line. Near 0 its best answer to doubt is the median colour, which
            is mostly black; from about 1 on it is the mean, which keeps a trace of every colour that may be right.

    Returns:
        A scalar; 0 where nothing is masked and valid.
    """
    side = made.shape[-2] // masked.shape[-2]
    weights = masked.repeat_interleave(side, dim=-2).repeat_interleave(side, dim=-1).unsqueeze(1).to(made.dtype)
    weights = (weights if valid is None else weights * valid).expand_as(made)
    distance = F.smooth_l1_loss(made, targets, reduction="none", beta=beta)
    return (distance * weights).sum() / (weights.sum() + eps).clamp(min=1e-6)
