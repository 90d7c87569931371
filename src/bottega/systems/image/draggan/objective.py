"""How far two pictures are apart where a generator looks for one of them in itself.

The authors' inversion compares the features of a recognition network; this one those of the generator's own
discriminator, so that nothing else needs to be loaded.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from bottega.networks import StyleGan2Discriminator


def picture_distance(discriminator: StyleGan2Discriminator, made: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared distance of pixels at three sizes, and mean distance of the discriminator's maps; a scalar.

    Args:
        discriminator: Knows the generator's pictures.
        made: `(batch, 3, size, size)`.
        wanted: The same shape.
    """
    pixels = sum(((_smaller(made, by) - _smaller(wanted, by)).square().mean() for by in (1, 2, 4)), made.new_zeros(()))
    theirs = [found.detach() for found in discriminator.maps(wanted)]
    pairs = list(zip(discriminator.maps(made), theirs, strict=True))[1:4]
    maps = sum(((ours - other).abs().mean() / other.abs().mean() for ours, other in pairs), made.new_zeros(()))
    return pixels + 0.1 * maps


def _smaller(pictures: Tensor, by: int) -> Tensor:
    return pictures if by == 1 else F.avg_pool2d(pictures, by)
