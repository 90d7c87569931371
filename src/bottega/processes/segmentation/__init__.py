"""Segmentation by prompts: the protocol, and what works on any model that keeps it."""

from bottega.processes.segmentation.annotating import Annotation, Annotator, assisted, automatic, semi_automatic
from bottega.processes.segmentation.automatic import AutomaticSettings, FoundMasks, find_masks
from bottega.processes.segmentation.clicks import middle_pixels, next_labels, random_pixels, rough_boxes, wrong
from bottega.processes.segmentation.in_context import Example, InContextSegmenter, Likeness
from bottega.processes.segmentation.interaction import Clicked, clicked, flooded
from bottega.processes.segmentation.promptable import (
    INSIDE,
    NO_POINT,
    OUTSIDE,
    PADDING,
    Embedding,
    Frame,
    Prompts,
    Segmenter,
    Segments,
    Session,
    click,
    rough_mask,
)

__all__ = [
    "INSIDE",
    "NO_POINT",
    "OUTSIDE",
    "PADDING",
    "Annotation",
    "Annotator",
    "AutomaticSettings",
    "Clicked",
    "Embedding",
    "Example",
    "FoundMasks",
    "Frame",
    "InContextSegmenter",
    "Likeness",
    "Prompts",
    "Segmenter",
    "Segments",
    "Session",
    "assisted",
    "automatic",
    "click",
    "clicked",
    "find_masks",
    "flooded",
    "middle_pixels",
    "next_labels",
    "random_pixels",
    "semi_automatic",
    "rough_boxes",
    "rough_mask",
    "wrong",
]
