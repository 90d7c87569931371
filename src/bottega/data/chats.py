"""Users' conversations and comparisons of answers: JSON lines as language models are commonly tuned on.

A line is `{"messages": [{"role": "user", "content": ...}, ...]}`, a conversation that ends with an answer, or
`{"prompt": ..., "chosen": ..., "rejected": ...}`, two answers of which someone chose one. A prompt is a text or
messages; answers are texts, or messages of which the last one counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottega.errors import FileError

LONGEST_LINE = 1 << 22  # letters
MOST_GRADE = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Chat:
    """A conversation.

    Args:
        users: What the user says, turn by turn.
        answers: As many answers.
        system: The system prompt, or "".
    """

    users: tuple[str, ...]
    answers: tuple[str, ...]
    system: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preferred:
    """Two answers at the end of a conversation.

    Args:
        users: What the user says, turn by turn.
        answers: The answers before the last turn.
        system: The system prompt, or "".
        chosen: The better answer to the last turn.
        rejected: The other one.
        grade: How much better it is, 0 to 3; "grade" in the line.
    """

    users: tuple[str, ...]
    answers: tuple[str, ...]
    system: str = ""
    chosen: str
    rejected: str
    grade: int = MOST_GRADE


class ChatLines:
    """Conversations and comparisons of a `.jsonl` file, or of all such files of a folder.

    Raises:
        FileError: No such file, or a line that is neither.
    """

    def __init__(self, place: Path) -> None:
        files = sorted(place.rglob("*.jsonl")) if place.is_dir() else [place]
        made = [one for file in files for one in _records(file)]
        self.chats = tuple(one for one in made if isinstance(one, Chat))
        self.preferred = tuple(one for one in made if isinstance(one, Preferred))
        if not made:
            raise FileError(
                f'{place} holds no conversations; it needs .jsonl files with lines of {{"messages": [...]}}'
            )

    def __len__(self) -> int:
        return len(self.chats) + len(self.preferred)

    def sample(self, index: int) -> Chat | Preferred:
        """The conversations, then the comparisons."""
        return self.chats[index] if index < len(self.chats) else self.preferred[index - len(self.chats)]


def _records(file: Path) -> Iterator[Chat | Preferred]:
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _record(line, f"{file}, line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{file} cannot be read ({error}); give a .jsonl file in UTF-8") from error


def _record(line: str, place: str) -> Chat | Preferred:
    if len(line) > LONGEST_LINE:
        raise FileError(f"{place} has {len(line)} letters; a conversation has at most {LONGEST_LINE}")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{place} is not valid JSON ({error}); write one object a line") from error
    if isinstance(found, dict) and {"chosen", "rejected"} <= found.keys():
        return _preferred(found, place)
    if isinstance(found, dict) and "messages" in found:
        users, answers, system = _turns(found["messages"], place)
        if len(users) != len(answers):
            raise FileError(f"{place} ends with the user; a conversation to learn from ends with an answer")
        return Chat(users=users, answers=answers, system=system)
    raise FileError(f'{place} has neither "messages" nor "chosen" and "rejected"; see the manual of training data')


def _preferred(found: dict[str, Any], place: str) -> Preferred:
    prompt, grade = found.get("prompt"), found.get("grade", MOST_GRADE)
    if prompt is None and isinstance(found["chosen"], list):
        prompt = found["chosen"][:-1]
    said = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    users, answers, system = _turns(said, place)
    if len(users) != len(answers) + 1:
        raise FileError(f"{place} has a prompt that does not end with the user")
    if not isinstance(grade, int) or not 0 <= grade <= MOST_GRADE:
        raise FileError(f"{place} has the grade {grade!r}; it is 0, 1, 2 or 3")
    return Preferred(
        users=users, answers=answers, system=system, grade=grade,
        chosen=_last(found["chosen"], place), rejected=_last(found["rejected"], place),
    )  # fmt: skip


def _last(said: object, place: str) -> str:
    text = said[-1].get("content") if isinstance(said, list) and said and isinstance(said[-1], dict) else said
    if not isinstance(text, str):
        raise FileError(f"{place} has an answer that is no text")
    return text


def _turns(messages: object, place: str) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """What the user says, the answers and the system prompt of messages that alternate."""
    pairs: list[tuple[Any, Any]] = [(one.get("role"), one.get("content")) for one in _objects(messages)]
    system = pairs.pop(0)[1] if pairs and pairs[0][0] == "system" else ""
    texts = [content for _, content in pairs]
    expected = ["user" if number % 2 == 0 else "assistant" for number in range(len(pairs))]
    if (
        not pairs
        or [role for role, _ in pairs] != expected
        or not all(isinstance(text, str) for text in [system, *texts])
    ):
        raise FileError(f"{place} has messages that are not user and assistant in turn, each with a text as content")
    return tuple(texts[::2]), tuple(texts[1::2]), system


def _objects(messages: object) -> Sequence[dict[str, Any]]:
    whole = isinstance(messages, list) and all(isinstance(one, dict) for one in messages)
    return messages if whole and isinstance(messages, list) else []
