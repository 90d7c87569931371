"""Useful requests: tasks with right answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

from bottega.worlds.dice import Dice
from bottega.worlds.emoji import load_index
from bottega.worlds.queries.judges import rows
from bottega.worlds.requests.forms import ASKED, Form, written
from bottega.worlds.requests.request import Intent, Request

KINDS: Final = {
    "fruits": ("apple", "pear", "plum", "fig", "lemon", "cherry", "mango", "peach"),
    "animals": ("cat", "dog", "fox", "goat", "horse", "mouse", "otter", "sheep"),
    "colours": ("red", "blue", "green", "black", "white", "brown", "pink", "grey"),
    "cities": ("Rome", "Paris", "Oslo", "Lima", "Cairo", "Delhi", "Tokyo", "Quito"),
}
"""Words to name and to sort."""

TABLES: Final = {
    "guests": ("name", "age", "room"),
    "books": ("title", "price", "pages"),
    "plants": ("kind", "height", "age"),
}
"""Tables to query: a column of words, then two of numbers from 1 to 99."""

PICTURED: Final = (
    "dog", "fox", "lion", "tiger", "horse", "cow", "pig", "goat", "llama", "elephant", "panda", "koala",
    "grapes", "melon", "lemon", "banana", "pineapple", "mango", "pear", "peach", "cherries", "strawberry",
)  # fmt: skip
"""Emoji by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A question and two answers.

    Args:
        question: The question.
        right: The right answer, or one of them.
        wrong: A wrong one of the same kind.
        basis: What the judge needs beyond the right answer.
        key: The composition.
    """

    question: str
    right: str
    wrong: str
    basis: str = ""
    key: str = ""


def useful(dice: Dice) -> Request:
    """A problem and the form that its answer is asked in."""
    topic = dice.pick(tuple(_PROBLEMS))
    problem, form = _PROBLEMS[topic](dice), dice.pick(tuple(Form))
    return Request(
        text=f"{problem.question} {dice.pick(ASKED[form])}", intent=Intent.USEFUL, topic=topic, form=form,
        reply=written(form, problem.right), right=problem.right, wrong=problem.wrong, basis=problem.basis,
        key=f"{topic} {problem.key or problem.question} {form.value if topic == 'emoji' else ''}",
    )  # fmt: skip


def is_right(request: Request, value: str) -> bool:
    """Whether a value, taken out of its form, answers a useful request; letters' case does not matter."""
    said, right = (" ".join(text.casefold().split()) for text in (value, request.right))
    match request.topic:
        case "query":
            return said == right or (found := chosen(value)) is not None and found == chosen(request.right)
        case "naming":
            kind, _, count = request.basis.partition(" ")
            names = [name.strip() for name in said.split(",")]
            known = {name.casefold() for name in KINDS[kind]}
            return len(names) == int(count) == len(set(names)) and set(names) <= known
        case _:
            return said == right


def _sum(dice: Dice) -> Problem:
    a, b = 2 + dice.below(48), 2 + dice.below(48)
    plus = dice.unit() < 0.5
    a, b = (a, b) if plus else (max(a, b), min(a, b))
    value, sign = (a + b, "+") if plus else (a - b, "-")
    off = value + dice.pick((-10, -2, -1, 1, 2, 10))
    question = dice.pick(("What is {0}?", "How much is {0}?", "Work out {0}.")).format(f"{a} {sign} {b}")
    return Problem(question=question, right=str(value), wrong=str(off), key=f"{a} {sign} {b}")


def _query(dice: Dice) -> Problem:
    table = dice.pick(tuple(TABLES))
    words, *numbers = TABLES[table]
    column, number, sign = dice.pick(numbers), 10 + dice.below(80), dice.pick("<>")
    asked = dice.pick(("Which SQL shows the {0} of {1} with {2} {3} {4}?", "SQL for the {0} of {1} with {2} {3} {4}?"))
    query = "SELECT {0} FROM {1} WHERE {2} {3} {4}"
    other = numbers[0] if column == numbers[1] else numbers[1]
    slips = ((words, table, other, sign, number), (words, table, column, "<" if sign == ">" else ">", number))
    return Problem(
        question=asked.format(words, table, column, "above" if sign == ">" else "below", number),
        right=query.format(words, table, column, sign, number),
        wrong=query.format(*dice.pick(slips)),
        key=f"{table} {column} {number}",
    )


def _emoji(dice: Dice) -> Problem:
    name, other = dice.choose(PICTURED, 2)
    if dice.unit() < 0.5:
        asked = dice.pick(("Which emoji shows {0}?", "Show me the emoji of {0}.")).format(name)
        return Problem(question=asked, right=_characters()[name], wrong=_characters()[other], key=name)
    asked = dice.pick(("What does {0} show?", "What is {0}?")).format(_characters()[name])
    return Problem(question=asked, right=name, wrong=other, key=name)


def _sorting(dice: Dice) -> Problem:
    words = dice.choose(KINDS[dice.pick(tuple(KINDS))], 3)
    right = sorted(words, key=str.casefold)
    wrong = [right[1], right[0], right[2]] if dice.unit() < 0.5 else [right[0], right[2], right[1]]
    asked = dice.pick(("Sort these words: {0}.", "Put these in order of the alphabet: {0}."))
    return Problem(
        question=asked.format(", ".join(words)), right=", ".join(right), wrong=", ".join(wrong), key=str(right)
    )


def _naming(dice: Dice) -> Problem:
    kind, other = dice.choose(tuple(KINDS), 2)
    count = 2 + dice.below(2)
    names = dice.choose(KINDS[kind], count)
    slips = ((*names[:-1], dice.pick(KINDS[other])), (*names[:-1], names[0]), names[:-1])
    asked = dice.pick(("Name {0} {1}.", "Tell me {0} {1}.")).format(("two", "three")[count - 2], kind)
    return Problem(
        question=asked, right=", ".join(names), wrong=", ".join(dice.pick(slips)), basis=f"{kind} {count}",
        key=f"{kind} {sorted(names)}",
    )  # fmt: skip


_PROBLEMS: Final[dict[str, Callable[[Dice], Problem]]] = {
    "sum": _sum,
    "query": _query,
    "emoji": _emoji,
    "sorting": _sorting,
    "naming": _naming,
}


@cache
def _characters() -> dict[str, str]:
    """The emoji of `PICTURED` by name."""
    return {emoji.name: emoji.characters for emoji in load_index() if emoji.name in PICTURED}


@lru_cache(4096)
def chosen(query: str) -> tuple[str, ...] | None:
    """What a query shows of the tables, in any order; None where it is no query of them."""
    found = rows(_script(), query)
    return None if found is None else tuple(sorted(map(repr, found)))


@cache
def _script() -> str:
    """Makes tables in which every comparison with another number shows other rows."""
    lines = []
    for table, (words, *numbers) in TABLES.items():
        lines.append(f"CREATE TABLE {table} ({words} TEXT, {numbers[0]} INTEGER, {numbers[1]} INTEGER);")
        values = ", ".join(f"('{words}{n}', {n}, {n * 37 % 100})" for n in range(1, 100))
        lines.append(" ".join(("INSERT INTO", table, "VALUES", f"{values};")))
    return "\n".join(lines)
