"""Worlds: procedural and bundled data with exact answers, as deterministic functions of a seed and an index."""

from bottega.worlds.sample import Box, Clip, Color, Question, Sample, Thing, World, tight_box

__all__ = ["Box", "Clip", "Color", "Question", "Sample", "Thing", "World", "tight_box"]
