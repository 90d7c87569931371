"""The losses of EVA, as functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from bottega.errors import WeightsError
from bottega.processes.masked import masked_cosine, masked_squares, patch_pixels
from bottega.systems.vision.eva.config import MaskedConfig, Target
from bottega.systems.vision.eva.model import EvaRoom


@torch.no_grad()
def teacher_features(room: EvaRoom, picture: Tensor) -> Tensor:
    """The teacher's features of every patch, in the space that it shares with texts: `(batch, patches, features)`.

    Args:
        room: The room's model.
        picture: The whole picture, `(batch, 3, size, size)`, normalised.

    Raises:
        WeightsError: This size has no teacher.

    Source: arXiv:2211.07636, section 2.2: the last norm and the projection of CLIP's class token, patch by patch.
    """
    if room.teacher is None:
        raise WeightsError("the teacher is not part of this size; train it with a size that has one, such as tiny")
    return room.teacher.projection(room.teacher.vit(picture)[:, 1:])


def masked_loss(room: EvaRoom, picture: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """What masked pre-training minimises: minus the cosine with the teacher's features, or the error of the pixels.

    Args:
        room: The room's model.
        picture: `(batch, 3, size, size)`, normalised.
        mask: bool `(batch, patches)`, True where the student does not see.
    """
    if room.student is None:
        raise WeightsError("this size has no masked pre-training; take eva-g, eva-l or tiny")
    masked = room.config.masked
    told = room.student(room.tower, picture, mask)
    if isinstance(masked, MaskedConfig) and masked.target is Target.PIXELS:
        return {"loss": masked_squares(told, patch_pixels(picture, room.config.tower.patch_size), mask)}
    return {"loss": -masked_cosine(told, teacher_features(room, picture), mask)}
