"""The template of Llama 2's conversations: what the user says between [INST] and [/INST], answers behind it.

    <s>[INST] <<SYS>>
    {system}
    <</SYS>>

    {user} [/INST] {answer} </s><s>[INST] {user} [/INST]

Source: arXiv:2307.09288; `llama/generation.py` of meta-llama/llama and the chat template of transformers' LLaMA say the
same, and refuse what could be mistaken for the template itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from bottega.errors import RequestError

TAGS: Final = ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>")


class FramedTokens(Protocol):
    """What the template needs of a tokenizer."""

    def ids(self, text: str, *, start: bool = False, end: bool = False) -> list[int]:
        """The text's ids, with the start and the end token where wanted."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatTokens:
    """A conversation as ids.

    Args:
        ids: The ids.
        learned: For each, whether it is of an answer, its end token included.
    """

    ids: tuple[int, ...]
    learned: tuple[bool, ...]


def with_system(system: str, user: str) -> str:
    """What the user says, with the system prompt in front; without one just what the user says."""
    return f"<<SYS>>\n{system}\n<</SYS>>\n\n{user}" if system else user


def chat_texts(
    users: Sequence[str], answers: Sequence[str], system: str = "", *, everywhere: bool = False
) -> list[tuple[str, str | None]]:
    """A conversation as pairs of texts: `[INST] ... [/INST]`, and the answer behind it or None where it is awaited.

    Args:
        users: What the user says, turn by turn.
        answers: The answers; as many, or one fewer.
        system: The system prompt, or "".
        everywhere: Whether it stands in every turn, as ghost attention draws answers (arXiv:2307.09288, section 3.3),
            and not in the first one only.

    Raises:
        RequestError: Turns that do not alternate, or that hold a tag of the template.
    """
    if not users or len(users) - len(answers) not in (0, 1):
        raise RequestError(f"{len(users)} turns of the user and {len(answers)} answers do not alternate")
    for text in (system, *users):
        tag = next((tag for tag in TAGS if tag in text), None)
        if tag is not None:
            raise RequestError(f"a turn holds {tag}, which belongs to the template of the conversation; leave it out")
    said = [with_system(system if everywhere or turn == 0 else "", user) for turn, user in enumerate(users)]
    waiting = [None] * (len(users) - len(answers))
    asked = [f"[INST] {text.strip()} [/INST]" for text in said]
    return list(zip(asked, [*(f" {text.strip()} " for text in answers), *waiting], strict=True))


def chat_text(users: Sequence[str], answers: Sequence[str], system: str = "", *, start: str, end: str) -> str:
    """A conversation as one text, as transformers' template writes it, with the names of the start and end tokens."""
    pairs = chat_texts(users, answers, system)
    return "".join(start + asked + ("" if answer is None else answer + end) for asked, answer in pairs)


def chat_tokens(
    tokenizer: FramedTokens, users: Sequence[str], answers: Sequence[str], system: str = "", *, everywhere: bool = False
) -> ChatTokens:
    """A conversation as ids: every turn is encoded by itself, between start and end; arguments as in `chat_texts`."""
    ids: list[int] = []
    learned: list[bool] = []
    for asked, answer in chat_texts(users, answers, system, everywhere=everywhere):
        head = tokenizer.ids(asked, start=True)
        whole = head if answer is None else tokenizer.ids(asked + answer, start=True, end=True)
        # where a tokenizer merged over the border, the tokens from there on are the answer's
        border = next((place for place, pair in enumerate(zip(head, whole, strict=False)) if pair[0] != pair[1]), None)
        border = len(head) if border is None else border
        ids += whole
        learned += [False] * border + [True] * (len(whole) - border)
    return ChatTokens(ids=tuple(ids), learned=tuple(learned))
