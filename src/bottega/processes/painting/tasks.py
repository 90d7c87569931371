"""The tasks that are learned as painting, and how pictures of each may be changed while training."""

from __future__ import annotations

from enum import Enum


class PaintTask(Enum):
    """What a painting answers. `str` values name folders, options and figures."""

    DEPTH = "depth"
    SEMANTIC = "semantic"
    INSTANCES = "instances"
    KEYPOINTS = "keypoints"
    DENOISE = "denoise"
    DERAIN = "derain"
    LIGHTEN = "lighten"

    @property
    def restores(self) -> bool:
        """Whether the painting is the picture itself, without its damage."""
        return self in (PaintTask.DENOISE, PaintTask.DERAIN, PaintTask.LIGHTEN)

    @property
    def crops(self) -> bool:
        """Whether pictures may be cropped and mirrored: not where colours tell places or sides."""
        return self not in (PaintTask.INSTANCES, PaintTask.KEYPOINTS)

    @property
    def flat(self) -> bool:
        """Whether colours between two painted ones mean nothing, so that paintings are resized to the nearest."""
        return self in (PaintTask.SEMANTIC, PaintTask.INSTANCES)


PUBLISHED_SHARES = {
    PaintTask.DEPTH: 0.10,
    PaintTask.SEMANTIC: 0.45,
    PaintTask.INSTANCES: 0.15,
    PaintTask.KEYPOINTS: 0.20,
    PaintTask.DENOISE: 0.15,
    PaintTask.DERAIN: 0.05,
    PaintTask.LIGHTEN: 0.05,
}
"""How often each task is drawn, before they are made to sum to 1; semantic is ADE20K's 0.2 with COCO's 0.25.

Source: the authors' training command.
"""
