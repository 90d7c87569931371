"""A room that has nothing but a model: no weights, no formats, no training."""

from bottega.room import Card

CARD = Card(
    title="Empty", sentence="Nothing to nothing.", citation="bottega's tests", papers=(), peer="none", licence=""
)
