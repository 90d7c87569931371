"""A language model at work for many at once: orders in, text out piece by piece."""

from bottega.serve.language.engine import Closing, Engine, Load, Ticket, TooLong
from bottega.serve.language.orders import Broke, Ended, Ending, Event, Listener, TextOrder, TokenScore, Wrote
from bottega.serve.language.template import PLAIN_STOPS, conversation, plain_conversation

__all__ = [
    "PLAIN_STOPS",
    "Broke",
    "Closing",
    "Ended",
    "Ending",
    "Engine",
    "Event",
    "Listener",
    "Load",
    "TextOrder",
    "Ticket",
    "TokenScore",
    "TooLong",
    "Wrote",
    "conversation",
    "plain_conversation",
]
