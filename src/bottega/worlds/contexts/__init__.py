"""The world of contexts: pictures that belong together, for learning and testing segmentation by example."""

from bottega.worlds.contexts.context import Context
from bottega.worlds.contexts.folder import MaskFolder
from bottega.worlds.contexts.world import ALL_KINDS, SAME_THINGS, ContextKind, ContextsWorld

__all__ = ["ALL_KINDS", "SAME_THINGS", "Context", "ContextKind", "ContextsWorld", "MaskFolder"]
