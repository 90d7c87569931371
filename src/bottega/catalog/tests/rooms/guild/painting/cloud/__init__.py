"""A room for tests."""

from bottega.room import Card

CARD = Card(
    title="Cloud",
    sentence="A point to a point.",
    citation="Nobody, 2026",
    papers=(),
    peer="none",
    licence="none",
)
