"""A small real system for tests: words to a colour gradient, and a picture to words."""

from bottega.room import Card

CARD = Card(
    title="Gradient",
    sentence="Words to a gradient between two colours, and a picture to the words for its mean colour.",
    citation="bottega's tests",
    papers=(),
    peer="none",
    licence="Apache-2.0",
)
