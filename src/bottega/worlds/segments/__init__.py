"""The world of segments: scenes in which every thing, part and part of a part has an exact mask."""

from bottega.worlds.segments.world import SegmentScene, SegmentsWorld

__all__ = ["SegmentScene", "SegmentsWorld"]
