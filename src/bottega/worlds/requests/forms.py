"""The forms in which an answer can be asked for."""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import Final


class Form(Enum):
    """How an answer is written."""

    SHORT = "short"
    """The answer and nothing else."""
    SENTENCE = "sentence"
    """The answer in a sentence."""
    JSON = "json"
    """The answer in a JSON object."""


ASKED: Final = {
    Form.SHORT: ("Just the answer.", "The answer only, please."),
    Form.SENTENCE: ("Answer in a sentence.", "In a sentence, please."),
    Form.JSON: ("Answer as JSON.", "As JSON, please."),
}
"""How a user asks for each form."""

_SENTENCE: Final = re.compile(r"the answer is (.+)\.", re.IGNORECASE | re.DOTALL)


def written(form: Form, value: str) -> str:
    """An answer in a form."""
    match form:
        case Form.SHORT:
            return value
        case Form.SENTENCE:
            return f"The answer is {value}."
        case Form.JSON:
            return json.dumps({"answer": value}, ensure_ascii=False)


def read(text: str) -> tuple[Form, str]:
    """The form of a text, and the answer in it. What is neither a sentence nor JSON of ours is short."""
    said = _SENTENCE.fullmatch(text)
    if said:
        return Form.SENTENCE, said[1]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return Form.SHORT, text
    pairs = list(value.items()) if isinstance(value, dict) else []
    if len(pairs) == 1 and pairs[0][0].casefold() == "answer" and isinstance(pairs[0][1], str):
        return Form.JSON, pairs[0][1]
    return Form.SHORT, text
