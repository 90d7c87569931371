"""A language model at work for many at once: orders in, text out piece by piece."""

from bottega.serve.language.engine import Engine, Load, Ticket
from bottega.serve.language.orders import Broke, Ended, Ending, Event, Listener, TextOrder, TokenScore, Wrote
from bottega.serve.language.template import PLAIN_STOPS, conversation, plain_conversation

__all__ = [
    "PLAIN_STOPS",
    "Broke",
    "Ended",
    "Ending",
    "Engine",
    "Event",
    "Listener",
    "Load",
    "TextOrder",
    "Ticket",
    "TokenScore",
    "Wrote",
    "conversation",
    "plain_conversation",
]
