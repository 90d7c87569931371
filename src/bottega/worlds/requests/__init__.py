"""The world of requests: what people ask an assistant for, with exact judges of help, safety and manner."""

from bottega.worlds.requests.forms import Form
from bottega.worlds.requests.judges import Annotator, Verdict, goodness, judge, quality
from bottega.worlds.requests.replies import Comparison, careless_reply, compare, comparison
from bottega.worlds.requests.request import Intent, Request
from bottega.worlds.requests.styles import Style, follows, styled
from bottega.worlds.requests.world import Conversation, RequestsWorld, conversation

__all__ = [
    "Annotator",
    "Comparison",
    "Conversation",
    "Form",
    "Intent",
    "Request",
    "RequestsWorld",
    "Style",
    "Verdict",
    "careless_reply",
    "compare",
    "comparison",
    "conversation",
    "follows",
    "goodness",
    "judge",
    "quality",
    "styled",
]
