"""A language model at work for many at once: orders in, text out piece by piece."""

from bottega.serve.language.engine import Closing, Engine, Load, Ticket, TooLong, ample_memory
from bottega.serve.language.orders import Broke, Ended, Ending, Event, Listener, TextOrder, TokenScore, Wrote
from bottega.serve.language.submission import Busy, Submission
from bottega.serve.language.template import PLAIN_STOPS, conversation, plain_conversation

__all__ = [
    "PLAIN_STOPS",
    "Broke",
    "Busy",
    "Closing",
    "Ended",
    "Ending",
    "Engine",
    "Event",
    "Listener",
    "Load",
    "Submission",
    "TextOrder",
    "Ticket",
    "TokenScore",
    "TooLong",
    "Wrote",
    "ample_memory",
    "conversation",
    "plain_conversation",
]
