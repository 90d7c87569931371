"""The world of queries: text with exact answers, for language models."""

from bottega.worlds.queries.judges import is_right
from bottega.worlds.queries.passage import Passage, Topic
from bottega.worlds.queries.world import QueriesWorld

__all__ = ["Passage", "QueriesWorld", "Topic", "is_right"]
