"""Learning by filling in: masks of patches, and the losses on what they hide."""

from __future__ import annotations

from bottega.processes.masked.blocks import BlockMasks, block_masks
from bottega.processes.masked.dropping import kept_count, kept_patches
from bottega.processes.masked.regression import masked_cosine, masked_squares, patch_pixels

__all__ = [
    "BlockMasks",
    "block_masks",
    "kept_count",
    "kept_patches",
    "masked_cosine",
    "masked_squares",
    "patch_pixels",
]
