"""Questions about the tables of a shop, with queries that answer them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from bottega.worlds.dice import Dice, mix_text
from bottega.worlds.english import listed
from bottega.worlds.queries.passage import Draft

ROWS: Final = 48  # goods in a table
ORDERS: Final = 160  # rows of the table of orders


@dataclass(frozen=True, slots=True)
class Table:
    """A table of goods: a name, a kind, and three whole numbers.

    Args:
        name: The table, a plural word.
        label: Column with each row's own name.
        kind: Column with one of `kinds`.
        kinds: Its values.
        numbers: Columns of whole numbers, with the smallest and largest value.
    """

    name: str
    label: str
    kind: str
    kinds: tuple[str, ...]
    numbers: tuple[tuple[str, int, int], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns."""
        return self.label, self.kind, *(name for name, _, _ in self.numbers)


TABLES: Final = (
    Table("books", "title", "genre", ("crime", "poetry", "history", "travel", "fantasy"),
          (("pages", 60, 900), ("price", 5, 60), ("year", 1950, 2024))),
    Table("films", "title", "genre", ("drama", "comedy", "horror", "western"),
          (("minutes", 70, 200), ("rating", 10, 99), ("year", 1940, 2024))),
    Table("plants", "name", "family", ("cactus", "fern", "orchid", "palm"),
          (("height", 5, 250), ("price", 3, 80), ("stock", 0, 90))),
    Table("bikes", "model", "style", ("city", "race", "trail", "cargo"),
          (("weight", 7, 40), ("price", 200, 950), ("gears", 1, 30))),
    Table("lamps", "name", "room", ("kitchen", "hall", "garden", "office"),
          (("watts", 3, 90), ("price", 10, 300), ("stock", 0, 70))),
    Table("teas", "name", "origin", ("China", "India", "Japan", "Kenya"),
          (("grams", 20, 500), ("price", 4, 90), ("stars", 10, 50))),
    Table("games", "title", "type", ("cards", "dice", "puzzle", "board"),
          (("players", 1, 12), ("minutes", 10, 240), ("price", 8, 120))),
    Table("coats", "name", "color", ("black", "green", "brown", "white"),
          (("size", 30, 60), ("price", 40, 600), ("stock", 0, 40))),
)  # fmt: skip


@cache
def script(table: Table) -> str:
    """The SQL that makes a table of goods and the table of their orders: the same on every machine."""
    dice = Dice(mix_text(table.name), 0)
    names = [f"{table.name[:-1]} {number + 1}" for number in range(ROWS)]
    columns = ", ".join(
        [f"{table.label} TEXT", f"{table.kind} TEXT", *(f"{name} INTEGER" for name, _, _ in table.numbers)]
    )
    goods = [
        f"('{name}', '{dice.pick(table.kinds)}', "
        + ", ".join(str(low + dice.below(high - low + 1)) for _, low, high in table.numbers)
        + ")"
        for name in names
    ]
    orders = [f"('{dice.pick(names)}', {1 + dice.below(20)}, {1 + dice.below(12)})" for _ in range(ORDERS)]
    return (
        f"CREATE TABLE {table.name} ({columns});\nINSERT INTO {table.name} VALUES {', '.join(goods)};\n"
        "CREATE TABLE orders (item TEXT, amount INTEGER, month INTEGER);\n"
        f"INSERT INTO orders VALUES {', '.join(orders)};"
    )


def sql(dice: Dice) -> Draft:
    """A question of one of five shapes."""
    table = dice.pick(TABLES)
    shape = dice.pick((_listing, _grouped, _compared, _ordered, _summary))
    asked, query, joined = shape(dice, table)
    given = f"{table.name}({', '.join(table.columns)})"
    given += " and orders(item, amount, month)" if joined else ""
    return Draft(
        question=f"Tables: {given}.\n{asked}" if joined else f"Table: {given}.\n{asked}",
        answer=query,
        key="".join(letter for letter in query if not letter.isdigit()),
        basis=script(table),
    )


def _number(dice: Dice, table: Table) -> tuple[str, int]:
    """A column of numbers and a value from the middle of its range."""
    name, low, high = dice.pick(table.numbers)
    return name, low + int((high - low) * dice.between(0.2, 0.8))


def _condition(dice: Dice, table: Table, column: str, value: int) -> tuple[str, str]:
    """A condition on a column of numbers, in English and in SQL."""
    kind = dice.pick(("above", "below", "at least", "at most"))
    sign = {"above": ">", "below": "<", "at least": ">=", "at most": "<="}[kind]
    return f"{column} {kind} {value}", f"{table.name}.{column} {sign} {value}"


def _conditions(dice: Dice, table: Table) -> tuple[str, list[str]]:
    """One or two conditions on a table, in English ("with price above 20, of genre crime") and in SQL."""
    column, value = _number(dice, table)
    english, test = _condition(dice, table, column, value)
    if dice.unit() < 0.4:
        return f"with {english}", [test]
    kind = dice.pick(table.kinds)
    if dice.unit() < 0.6:
        return f"of {table.kind} {kind} with {english}", [f"{table.name}.{table.kind} = '{kind}'", test]
    return f"not of {table.kind} {kind} with {english}", [f"{table.name}.{table.kind} <> '{kind}'", test]


def _where(tests: Sequence[str]) -> str:
    return "WHERE " + "\n  AND ".join(tests)


def _order(dice: Dice, by: str) -> tuple[str, str]:
    falls = dice.unit() < 0.5
    english = dice.pick(("sorted by {0}, {1} first", "{1} {0} first")).format(
        by.replace("_", " "), "highest" if falls else "lowest"
    )
    return english, "DESC" if falls else "ASC"


def _listing(dice: Dice, table: Table) -> tuple[str, str, bool]:
    english, tests = _conditions(dice, table)
    shown = [table.label, *(name for name, _, _ in table.numbers[: 1 + dice.below(3)])]
    by, _ = _number(dice, table)
    sorting, way = _order(dice, by)
    most = 3 + dice.below(7)
    verb = dice.pick(("List", "Show", "Give"))
    asked = f"{verb} {listed(shown)} of the {table.name} {english}, {sorting}, at most {most}."
    query = (
        f"SELECT {_qualified(table, shown)}\nFROM {table.name}\n{_where(tests)}\n"
        f"ORDER BY {table.name}.{by} {way}\nLIMIT {most};"
    )
    return asked, query, False


def _qualified(table: Table, columns: Sequence[str]) -> str:
    return ", ".join(f"{table.name}.{column}" for column in columns)


def _grouped(dice: Dice, table: Table) -> tuple[str, str, bool]:
    english, tests = _conditions(dice, table)
    column, _ = _number(dice, table)
    word, call = dice.pick((("average", "AVG"), ("total", "SUM"), ("highest", "MAX"), ("lowest", "MIN")))
    alias, least = f"{word}_{column}", 2 + dice.below(2)
    sorting, way = _order(dice, alias)
    asked = (
        f"For each {table.kind}, give the {word} {column} and the number of {table.name} {english}, "
        f"where there are at least {least}, {sorting}."
    )
    query = (
        f"SELECT {table.name}.{table.kind}, {call}({table.name}.{column}) AS {alias}, COUNT(*) AS number\n"
        f"FROM {table.name}\n{_where(tests)}\nGROUP BY {table.name}.{table.kind}\n"
        f"HAVING COUNT(*) >= {least}\nORDER BY {alias} {way};"
    )
    return asked, query, False


def _compared(dice: Dice, table: Table) -> tuple[str, str, bool]:
    column, _ = _number(dice, table)
    kind = dice.pick(table.kinds)
    above = dice.unit() < 0.5
    sorting, way = _order(dice, column)
    wording = dice.pick(("Which {0} have {1}?", "List the {0} that have {1}.", "Show {0} with {1}."))
    side = "above" if above else "below"
    asked = wording.format(table.name, f"a {column} {side} the average of those of {table.kind} {kind}, {sorting}")
    number = f"{table.name}.{column}"
    inner = "\n  ".join((f"SELECT AVG({number})", f"FROM {table.name}", f"WHERE {table.name}.{table.kind} = '{kind}'"))
    query = (
        f"SELECT {_qualified(table, (table.label, column))}\nFROM {table.name}\n"
        f"WHERE {number} {'>' if above else '<'} (\n  {inner}\n)\nORDER BY {number} {way};"
    )
    return asked, query, False


def _ordered(dice: Dice, table: Table) -> tuple[str, str, bool]:
    english, tests = _conditions(dice, table)
    month, most = 1 + dice.below(12), 3 + dice.below(5)
    span = dice.pick((("in", "="), ("after", ">"), ("before", "<")))
    if span[0] != "in":
        month = 4 + dice.below(6)
    sorting, way = _order(dice, "total_amount")
    asked = (
        f"Give the total amount ordered {span[0]} month {month} of each of the {table.name} {english}, "
        f"{sorting}, at most {most}."
    )
    query = (
        f"SELECT {table.name}.{table.label}, SUM(orders.amount) AS total_amount\nFROM {table.name}\n"
        f"JOIN orders ON orders.item = {table.name}.{table.label}\n"
        f"{_where([f'orders.month {span[1]} {month}', *tests])}\nGROUP BY {table.name}.{table.label}\n"
        f"ORDER BY total_amount {way}\nLIMIT {most};"
    )
    return asked, query, True


def _summary(dice: Dice, table: Table) -> tuple[str, str, bool]:
    english, tests = _conditions(dice, table)
    column, _ = _number(dice, table)
    calls = {"lowest": "MIN", "average": "AVG", "highest": "MAX"}
    chosen = dice.choose(list(calls), 2 + dice.below(2))
    wording = dice.pick(("What are the {0}?", "Give the {0}.", "Work out the {0}."))
    asked = wording.format(f"{listed(chosen)} {column} of the {table.name} {english}")
    parts = ", ".join(f"{calls[word]}({table.name}.{column}) AS {word}_{column}" for word in chosen)
    return asked, f"SELECT {parts}\nFROM {table.name}\n{_where(tests)};", False
