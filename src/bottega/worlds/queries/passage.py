"""What the text world is made of: topics, passages, and drafts of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Topic(Enum):
    """What a passage is about, in the order of the published mixture of LLaMA's seven sources."""

    SUMS = "sums"
    """Word problems with worked steps, and plain expressions."""
    SQL = "sql"
    """Questions about tables of a shop, answered by a query."""
    JSON = "json"
    """Records in words, answered as JSON."""
    DIALOGUE = "dialogue"
    """Conversations whose last reply confirms what was said."""
    CODE = "code"
    """Requests for short Python functions."""
    FACTS = "facts"
    """Questions about the names of emoji in fourteen languages."""
    DOCS = "docs"
    """The language reference of the running Python: real English, and other text with every version of Python."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A text with everything that is known about it.

    Args:
        text: The whole: the prompt and its answer where there is one.
        topic: What it is about.
        question: What is asked, or None for text that asks nothing.
        answer: A right answer, or None.
        basis: What a judge needs: an SQL script that makes the tables, a number, words that must be said.
    """

    text: str
    topic: Topic
    question: str | None = None
    answer: str | None = None
    basis: str = ""

    @property
    def prompt(self) -> str:
        """What a language model is given to go on with: the question and a new line, or nothing."""
        return "" if self.question is None else prompt_of(self.question)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A passage before it is known on which side of the split it lies.

    Args:
        question: What is asked, or None.
        answer: A right answer; where nothing is asked, the text itself.
        key: Its composition: drafts of equal keys lie on the same side.
        basis: As in `Passage`.
    """

    question: str | None
    answer: str
    key: str
    basis: str = ""

    def passage(self, topic: Topic) -> Passage:
        """The passage."""
        if self.question is None:
            return Passage(text=self.answer, topic=topic)
        return Passage(
            text=prompt_of(self.question) + self.answer,
            topic=topic,
            question=self.question,
            answer=self.answer,
            basis=self.basis,
        )


def prompt_of(question: str) -> str:
    """How a question stands in front of its answer."""
    return f"{question}\n"
