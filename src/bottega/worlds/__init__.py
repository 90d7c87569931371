"""Worlds: procedural and bundled data with exact answers, as deterministic functions of a seed and an index."""

from bottega.worlds.pixels import compose, tight_box
from bottega.worlds.sample import Box, Clip, Color, Question, Sample, Thing, World

__all__ = ["Box", "Clip", "Color", "Question", "Sample", "Thing", "World", "compose", "tight_box"]
