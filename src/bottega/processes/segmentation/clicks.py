"""A simulated person who prompts: the first click or box, and then clicks where the last answer was wrong.

Source: Segment Anything, arXiv:2304.02643, appendix A, "Training algorithm".
"""

from __future__ import annotations

import torch
from torch import Tensor

from bottega.ops import boxes_of_masks, depths
from bottega.processes.segmentation.promptable import INSIDE, OUTSIDE

BOX_NOISE, MOST_NOISE = 0.1, 20.0
"""Standard deviation of a box's corners in shares of its sides, and its most in pixels of a 1024-pixel picture."""


def random_pixels(regions: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One pixel of each region, all of its pixels alike: column and row `(..., 2)` as floats.

    Args:
        regions: bool `(..., height, width)`; of an empty one any pixel of the picture is drawn.
        generator: Source of randomness.
    """
    flat = regions.flatten(0, -3).flatten(1).float()
    flat = torch.where(flat.sum(1, keepdim=True) > 0, flat, 1.0)
    places = torch.multinomial(flat, 1, generator=generator)[:, 0]
    width = regions.shape[-1]
    return torch.stack((places % width, places // width), dim=-1).float().unflatten(0, regions.shape[:-2])


def middle_pixels(regions: Tensor) -> Tensor:
    """The pixel of each region that is farthest from its edge: column and row `(..., 2)` as floats.

    Args:
        regions: bool `(..., height, width)`; of an empty one the first pixel is taken.
    """
    width, flat = regions.shape[-1], regions.flatten(0, -3).cpu().numpy()
    places = torch.stack([torch.from_numpy(depths(one).copy()) for one in flat]).flatten(1).argmax(1)
    return torch.stack((places % width, places // width), dim=-1).float().unflatten(0, regions.shape[:-2])


def wrong(masks: Tensor, truths: Tensor) -> tuple[Tensor, Tensor]:
    """Where masks are wrong: pixels that they miss, and pixels that they have too many, bool like them."""
    return truths & ~masks, masks & ~truths


def next_labels(points: Tensor, truths: Tensor) -> Tensor:
    """The labels of clicks at whole pixels `(..., 2)`: whether they lie on what is wanted, bool `(..., h, w)`."""
    columns, rows = points.long().unbind(-1)
    on = truths.flatten(-2).gather(-1, (rows * truths.shape[-1] + columns)[..., None])[..., 0]
    return torch.where(on, INSIDE, OUTSIDE)


def rough_boxes(truths: Tensor, generator: torch.Generator | None = None, *, side: int = 1024) -> Tensor:
    """Boxes of masks as a person draws them: each edge is off by a tenth of the side, and at most by 20 pixels.

    Args:
        truths: bool `(..., height, width)`.
        generator: Source of randomness; None draws from torch's.
        side: The picture's longer side, which the 20 pixels are of 1024 of.

    Returns:
        `(..., 4)`: left, top, right, bottom.
    """
    boxes = boxes_of_masks(truths).float()
    extent = (boxes[..., 2:] - boxes[..., :2]).repeat(*[1] * (boxes.ndim - 1), 2)
    noise = torch.randn(boxes.shape, generator=generator, device=boxes.device) * BOX_NOISE * extent
    most = MOST_NOISE * side / 1024
    limit = truths.shape[-1] - 1, truths.shape[-2] - 1
    moved = boxes + noise.clamp(-most, most)
    high = moved.new_tensor((*limit, *limit))
    return torch.minimum(moved.clamp(min=0), high)
