"""Judges: whether an answer is right, decided exactly and without running what a model wrote outside SQLite."""

from __future__ import annotations

import ast
import json
import re
import sqlite3
from collections.abc import Callable
from typing import Final

from bottega.errors import RequestError
from bottega.worlds.queries.passage import Passage, Topic

LONGEST: Final = 4000  # letters of an answer that is looked at
STEPS: Final = 200  # thousands of SQLite's instructions after which a query is stopped
_READS: Final = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION)


def is_right(passage: Passage, answer: str) -> bool:
    """Whether an answer to a passage's question is right.

    Sums: the number after "The answer is". SQL: the same rows as the right query, in the same order where the question
    asks for one. JSON: the same value. Dialogue: everything that was agreed is said. Code: the same syntax tree.
    Facts: the same words.

    Raises:
        RequestError: The passage asks nothing.
    """
    if passage.question is None or passage.answer is None:
        raise RequestError(f"a passage about {passage.topic.value} asks nothing, so no answer to it is right or wrong")
    return _JUDGES[passage.topic](passage, answer[:LONGEST].strip())


def _sum(passage: Passage, answer: str) -> bool:
    said = re.findall(r"answer is (-?\d+)", answer)
    return bool(said) and said[0] == passage.basis


def _query(passage: Passage, answer: str) -> bool:
    right = passage.answer or ""
    expected, found = (rows(passage.basis, query) for query in (right, answer))
    if found is None or expected is None:
        return False
    if not expected:
        return _words(answer) == _words(right)
    return found == expected if "ORDER BY" in right else sorted(found, key=repr) == sorted(expected, key=repr)


def rows(script: str, query: str) -> list[tuple[object, ...]] | None:
    """The rows of a query over tables that a script makes in memory; None where the query fails or does not end.

    The query can read those tables and nothing else.
    """
    database = sqlite3.connect(":memory:")
    try:
        database.executescript(script)
        database.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY)
        left = iter(range(STEPS))
        database.set_progress_handler(lambda: next(left, None) is None, 1000)
        return database.execute(query).fetchmany(10_000)
    except (sqlite3.Error, sqlite3.Warning, ValueError):  # ValueError: a NUL in the query
        return None
    finally:
        database.close()


def _record(passage: Passage, answer: str) -> bool:
    try:
        return _same(json.loads(answer), json.loads(passage.basis))
    except (ValueError, RecursionError):
        return False


def _same(first: object, second: object) -> bool:
    """Equality of JSON values, where true is not 1."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


def _agreed(passage: Passage, answer: str) -> bool:
    said = set(re.findall(r"\w+", answer))
    return all(word in said for fact in passage.basis.split("|") for word in fact.split())


def _function(passage: Passage, answer: str) -> bool:
    try:
        return ast.dump(ast.parse(answer)) == ast.dump(ast.parse(passage.answer or ""))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _said(passage: Passage, answer: str) -> bool:
    return _words(answer) == _words(passage.answer or "")


def _words(text: str) -> list[str]:
    return text.casefold().split()


_JUDGES: Final[dict[Topic, Callable[[Passage, str], bool]]] = {
    Topic.SUMS: _sum,
    Topic.SQL: _query,
    Topic.JSON: _record,
    Topic.DIALOGUE: _agreed,
    Topic.CODE: _function,
    Topic.FACTS: _said,
}
