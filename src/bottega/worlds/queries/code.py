"""Requests for short Python functions, and the functions."""

from __future__ import annotations

from bottega.worlds.dice import Dice
from bottega.worlds.queries.passage import Draft

TESTS = (
    ("even", "{0} % 2 == 0"),
    ("odd", "{0} % 2 == 1"),
    ("positive", "{0} > 0"),
    ("negative", "{0} < 0"),
    ("larger than {1}", "{0} > {1}"),
    ("smaller than {1}", "{0} < {1}"),
    ("divisible by {1}", "{0} % {1} == 0"),
)
CHANGES = (
    ("doubled", "{0} * 2"),
    ("squared", "{0} ** 2"),
    ("plus {1}", "{0} + {1}"),
    ("minus {1}", "{0} - {1}"),
    ("times {1}", "{0} * {1}"),
)
LISTS = ("numbers", "values", "items", "scores", "prices", "ages")


def code(dice: Dice) -> Draft:
    """A function over a list of numbers: a sum, a count, a list, or the largest, under a test and with a change."""
    words, test = dice.pick(TESTS)
    number, plural = 2 + dice.below(18), dice.pick(LISTS)
    item = plural[:-1]
    words, test = words.format(item, number), test.format(item, number)
    kind, name = dice.pick((_total, _count, _chosen, _changed, _largest)), f"f{1 + dice.below(9)}"
    asked, body = kind(dice, plural, (words, test))
    wording = dice.pick(("Write a Python function {0} that returns {1}.", "In Python, {0} should return {1}."))
    lines = "\n".join(f"    {line}" for line in body)
    answer = f"def {name}({plural}):\n{lines}"
    return Draft(question=wording.format(name, asked), answer=answer, key=asked)


def _total(dice: Dice, plural: str, test: tuple[str, str]) -> tuple[str, list[str]]:
    item, (change, made) = plural[:-1], _change(dice, plural)
    body = ["total = 0", f"for {item} in {plural}:", f"    if {test[1]}:", f"        total += {made}", "return total"]
    return f"the sum of the {plural} that are {test[0]}, each {change}", body


def _count(dice: Dice, plural: str, test: tuple[str, str]) -> tuple[str, list[str]]:
    start = dice.below(3)
    body = [f"count = {start}", f"for {plural[:-1]} in {plural}:", f"    if {test[1]}:", "        count += 1"]
    first = "" if start == 0 else f", counting from {start}"
    return f"how many {plural} are {test[0]}{first}", [*body, "return count"]


def _chosen(dice: Dice, plural: str, test: tuple[str, str]) -> tuple[str, list[str]]:
    item, backwards = plural[:-1], dice.unit() < 0.5
    body = [f"found = [{item} for {item} in {plural} if {test[1]}]"]
    body += ["found.reverse()"] if backwards else []
    last = ", the last first" if backwards else ""
    return f"a list of the {plural} that are {test[0]}{last}", [*body, "return found"]


def _changed(dice: Dice, plural: str, test: tuple[str, str]) -> tuple[str, list[str]]:
    item, (change, made) = plural[:-1], _change(dice, plural)
    body = ["made = []", f"for {item} in {plural}:", f"    if {test[1]}:", f"        made.append({made})"]
    body += ["    else:", f"        made.append({item})", "return made"]
    return f"the {plural}, each that is {test[0]} {change}", body


def _largest(dice: Dice, plural: str, test: tuple[str, str]) -> tuple[str, list[str]]:
    item, (word, sign) = plural[:-1], dice.pick((("largest", ">"), ("smallest", "<")))
    body = ["best = None", f"for {item} in {plural}:"]
    body += [f"    if {test[1]} and (best is None or {item} {sign} best):", f"        best = {item}", "return best"]
    return f"the {word} of the {plural} that are {test[0]}", body


def _change(dice: Dice, plural: str) -> tuple[str, str]:
    words, made = dice.pick(CHANGES)
    number = 2 + dice.below(9)
    return words.format("", number), made.format(plural[:-1], number)
