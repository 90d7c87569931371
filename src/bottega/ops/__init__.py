"""Pure functions of tensors and arrays that several methods share."""

from bottega.ops.boxes import box_areas, box_overlaps, non_maximum_suppression
from bottega.ops.fir import double_side, filter_lines, halve_side, low_pass, spread
from bottega.ops.masks import boxes_of_masks, mask_overlaps, stability
from bottega.ops.matrix_nms import matrix_nms
from bottega.ops.regions import depths, grown, label_regions, without_small_holes, without_small_islands
from bottega.ops.run_lengths import RunLengths, coco_segmentation

__all__ = [
    "RunLengths",
    "box_areas",
    "box_overlaps",
    "boxes_of_masks",
    "coco_segmentation",
    "double_side",
    "filter_lines",
    "halve_side",
    "depths",
    "grown",
    "label_regions",
    "low_pass",
    "mask_overlaps",
    "matrix_nms",
    "non_maximum_suppression",
    "spread",
    "stability",
    "without_small_holes",
    "without_small_islands",
]
