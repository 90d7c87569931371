"""What Painter is trained to do: regress the masked pixels of a painted answer.

Source: arXiv:2212.02499, section 3.2; which pixels count is the authors' `pairdataset.py` and `models_painter.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bottega.networks import Painter
from bottega.processes.painting import PaintTask, painting_loss, to_paint

EPS = 0.01
"""Added to the number of pixels that a loss is the mean of."""
FEWEST = 100 / (2 * 448 * 448)
"""Share of pixels below which a target counts as empty: 100 pixels of the published size."""
ON_POINT = 10.0
"""How much a pixel of a key point counts, against 1 elsewhere."""


def pixel_weights(task: PaintTask, targets: Tensor) -> Tensor:
    """How much each pixel of a target counts.

    Args:
        task: Unknown depth and pixels without a class count nothing; those of key points count ten times; things and
            key points count nothing where the whole target is black.
        targets: Paintings `(3, height, width)` in [0, 1], example above query.

    Returns:
        `(3, height, width)`.
    """
    lit = targets > 0.5 / 255
    if task in (PaintTask.DEPTH, PaintTask.SEMANTIC):
        known = lit.any(dim=0) if task is PaintTask.SEMANTIC else lit.all(dim=0)
        return known.expand_as(targets).to(targets.dtype)
    weights = torch.ones_like(targets)
    if task in (PaintTask.KEYPOINTS, PaintTask.INSTANCES):
        if task is PaintTask.KEYPOINTS:
            weights = torch.where(lit, ON_POINT, weights)
        weights = weights * (lit.to(targets.dtype).mean() >= FEWEST)
    return weights


def visible_enough(targets: Tensor, masked: Tensor) -> Tensor:
    """Whether what a sample shows of its targets is not all but black; other samples teach nothing.

    Args:
        targets: `(batch, 3, height, width)` in [0, 1].
        masked: bool `(batch, rows, columns)`.

    Returns:
        bool `(batch,)`.
    """
    side = targets.shape[-2] // masked.shape[-2]
    shown = ~masked.repeat_interleave(side, dim=-2).repeat_interleave(side, dim=-1)
    return (targets.mean(dim=1) * shown).mean(dim=(-2, -1)) >= FEWEST


def painter_loss(network: Painter, pictures: Tensor, targets: Tensor, masked: Tensor, weights: Tensor) -> Tensor:
    """The mean smooth L1 distance at masked pixels that count.

    Args:
        network: The network.
        pictures: `(batch, 3, 2 * size, size)` in [0, 1].
        targets: Their paintings, alike.
        masked: bool `(batch, 2 * rows, rows)`.
        weights: Of the pixels, `(batch, 3, 2 * size, size)`, by `pixel_weights`.
    """
    wanted = to_paint(targets)
    made = network(to_paint(pictures), wanted, masked)
    weights = weights * visible_enough(targets, masked)[:, None, None, None]
    return painting_loss(made.float(), wanted, masked, weights, eps=EPS)
