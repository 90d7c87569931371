"""A conversation as a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bottega.errors import RequestError
from bottega.processes.decoding import Language, Message, Speaker

NAMES: Final = {Speaker.USER: "Guest", Speaker.ASSISTANT: "Host"}
PLAIN_STOPS: Final = (f"\n{NAMES[Speaker.USER]}:",)
"""What ends an answer of a model without a template of its own: that it goes on with the user's next line."""


def plain_conversation(messages: Sequence[Message]) -> str:
    """The prompt for a model that was never taught to converse and goes on with any text.

    One message of a user's is a question: its text and a new line. A longer conversation is written as a dialogue of
    "Guest:" and "Host:" (as in the queries world), system messages as lines above it, and ends with "Host:" and a new
    line.

    Raises:
        RequestError: No message, or the last is the assistant's.
    """
    if not messages or messages[-1].speaker is Speaker.ASSISTANT:
        raise RequestError("the last message is not a user's; end the conversation with what the user says")
    if len(messages) == 1:
        return f"{messages[0].text}\n"
    above = [message.text for message in messages if message.speaker is Speaker.SYSTEM]
    lines = [f"{NAMES[each.speaker]}: {each.text}" for each in messages if each.speaker is not Speaker.SYSTEM]
    return "\n".join([*above, *lines, f"{NAMES[Speaker.ASSISTANT]}:", ""])


def conversation(language: Language, messages: Sequence[Message]) -> tuple[list[int], tuple[str, ...]]:
    """A conversation's prompt by the model's own template, or plainly where it has none; and what ends the answer.

    Raises:
        RequestError: The speakers come in an order that the model cannot answer.
    """
    if language.template is not None:
        return language.template(messages), ()
    return language.tokens.ids(plain_conversation(messages), start=True), PLAIN_STOPS
