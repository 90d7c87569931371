"""Conversations and comparisons in JSON lines."""

from __future__ import annotations

import json

import pytest

from bottega.data import Chat, ChatLines, Preferred
from bottega.errors import FileError


def said(*texts, system=None):
    roles = ["user", "assistant"] * len(texts)
    first = [] if system is None else [{"role": "system", "content": system}]
    return [*first, *({"role": role, "content": text} for role, text in zip(roles, texts, strict=False))]


def lines(tmp_path, *records):
    file = tmp_path / "chats.jsonl"
    file.write_text("\n".join(record if isinstance(record, str) else json.dumps(record) for record in records))
    return file


def test_conversations_and_comparisons(tmp_path):
    lines(
        tmp_path,
        {"messages": said("Hi", "Hello.", "And?", "Yes.", system="Be kind.")},
        {"prompt": "Hi", "chosen": "Hello.", "rejected": "No.", "grade": 1},
        "",
        {"chosen": said("a", "b", "c", "d"), "rejected": said("a", "b", "c", "e")},
    )
    for place in (tmp_path, tmp_path / "chats.jsonl"):
        found = ChatLines(place)
        assert found.sample(0) == Chat(users=("Hi", "And?"), answers=("Hello.", "Yes."), system="Be kind.")
        assert found.sample(1) == Preferred(users=("Hi",), answers=(), chosen="Hello.", rejected="No.", grade=1)
        assert found.sample(2) == Preferred(users=("a", "c"), answers=("b",), chosen="d", rejected="e")
        assert (len(found), len(found.chats), len(found.preferred)) == (3, 1, 2)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ("{", "JSON"),
        ({"text": "a"}, "neither"),
        ({"messages": said("a")}, "ends with the user"),
        ({"messages": said("a", "b")[::-1]}, "in turn"),
        ({"messages": said("a", 3)}, "in turn"),
        ({"messages": "hello"}, "in turn"),
        ({"prompt": said("a", "b"), "chosen": "c", "rejected": "d"}, "does not end with the user"),
        ({"prompt": "a", "chosen": 3, "rejected": "d"}, "no text"),
        ({"prompt": "a", "chosen": "c", "rejected": "d", "grade": 4}, "grade"),
    ],
)
def test_other_lines_are_named(tmp_path, record, why):
    file = lines(tmp_path, {"messages": said("a", "b")}, record)
    with pytest.raises(FileError, match=why) as error:
        ChatLines(file)
    assert "line 2" in str(error.value)


def test_places_without_conversations(tmp_path):
    with pytest.raises(FileError, match="no conversations"):
        ChatLines(tmp_path)
    with pytest.raises(FileError, match="cannot be read"):
        ChatLines(tmp_path / "missing.jsonl")
