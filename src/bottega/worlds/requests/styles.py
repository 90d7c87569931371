"""Instructions that hold for a whole conversation: what a system prompt says of the manner of answers."""

from __future__ import annotations

from enum import Enum


class Style(Enum):
    """A manner of all answers; the value is the system prompt that asks for it."""

    CAPITALS = "Write in capital letters."
    SMILE = "End every answer with :)"
    HELLO = "Begin every answer with Hello!"
    STARS = "Put every answer between stars."


def styled(text: str, style: Style | None) -> str:
    """A text in a style."""
    match style:
        case Style.CAPITALS:
            return text.upper()
        case Style.SMILE:
            return f"{text} :)"
        case Style.HELLO:
            return f"Hello! {text}"
        case Style.STARS:
            return f"*{text}*"
        case None:
            return text


def follows(text: str, style: Style) -> bool:
    """Whether a text keeps to a style."""
    text = text.strip()
    match style:
        case Style.CAPITALS:
            return text == text.upper() != ""
        case Style.SMILE:
            return text.endswith(":)") and len(text) > 2
        case Style.HELLO:
            return text.startswith("Hello!") and len(text) > len("Hello!")
        case Style.STARS:
            return text.startswith("*") and text.endswith("*") and len(text) > 2


def plain(text: str) -> str:
    """A text without what styles put around it; capital letters stay."""
    text = text.strip()
    if len(text) > 2 and text.startswith("*") and text.endswith("*"):
        text = text[1:-1]
    return text.removesuffix(":)").removeprefix("Hello!").strip()
