"""Learning by filling in: masks of patches, and the losses on what they hide."""

from __future__ import annotations

from bottega.processes.masked.blocks import BlockMasks, block_masks

__all__ = ["BlockMasks", "block_masks"]
