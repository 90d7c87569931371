"""In-context painting: an example above a query, their targets alike, and the loss on what is to be painted.

Answers of every task are pictures, too: classes, things, depth and key points are painted, and read from a painting.
"""

from bottega.processes.painting.canvas import from_paint, stacked, to_paint, unknown_half
from bottega.processes.painting.depth import paint_depth, read_depth
from bottega.processes.painting.instances import Instances, LocationColors, paint_instances, read_instances
from bottega.processes.painting.keypoints import (
    KeyPoints,
    PointBrush,
    heat_maps,
    mirrored_maps,
    paint_points,
    point_colors,
    read_points,
)
from bottega.processes.painting.loss import BETA, painting_loss, training_masks
from bottega.processes.painting.palette import (
    ColorDistance,
    class_colors,
    class_distances,
    class_step,
    paint_classes,
    read_classes,
)
from bottega.processes.painting.panoptic import Panoptic, read_panoptic
from bottega.processes.painting.tasks import PUBLISHED_SHARES, PaintTask

__all__ = [
    "BETA",
    "PUBLISHED_SHARES",
    "ColorDistance",
    "Instances",
    "KeyPoints",
    "LocationColors",
    "PaintTask",
    "Panoptic",
    "PointBrush",
    "class_colors",
    "class_distances",
    "class_step",
    "from_paint",
    "heat_maps",
    "mirrored_maps",
    "paint_classes",
    "paint_depth",
    "paint_instances",
    "paint_points",
    "painting_loss",
    "point_colors",
    "read_classes",
    "read_depth",
    "read_instances",
    "read_panoptic",
    "read_points",
    "stacked",
    "to_paint",
    "training_masks",
    "unknown_half",
]
