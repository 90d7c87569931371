"""What a request is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bottega.worlds.requests.forms import Form


class Intent(Enum):
    """What helping would do."""

    USEFUL = "useful"
    """Something that can be right or wrong: a sum, a query, a name."""
    DANGEROUS = "dangerous"
    """Harm to someone: the assistant should decline and offer something better."""
    HARMLESS = "harmless"
    """Near a dangerous one in its words, and fine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One thing that a user asks for.

    Args:
        text: What the user says.
        intent: What helping would do.
        topic: Which task or danger it is of.
        reply: The best reply.
        right: The right answer without its form; of a dangerous request, what is offered instead.
        wrong: Something of the same kind that is wrong.
        form: The form that the answer is asked in, or None.
        harm: What a reply to a dangerous request says when it gives in, or "".
        basis: What the judge needs beyond that.
        key: Its composition: requests of equal keys lie on the same side of the split.
    """

    text: str
    intent: Intent
    topic: str
    reply: str
    right: str
    wrong: str
    form: Form | None = None
    harm: str = ""
    basis: str = ""
    key: str = ""
