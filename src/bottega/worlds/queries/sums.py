"""Word problems whose steps are worked out, in the manner of GSM8K, and plain expressions."""

from __future__ import annotations

from dataclasses import dataclass, field

from bottega.worlds.dice import Dice
from bottega.worlds.queries.passage import Draft
from bottega.worlds.queries.words import GOODS, HOLDERS, PEOPLE, THINGS

MOST = 120  # largest number that a story comes to


@dataclass(slots=True)
class Story:
    """A story while it is told.

    Args:
        who: Whose things are counted.
        friend: Another person.
        things: What is counted.
        count: How many there are now.
        told: Sentences of the question so far.
        steps: Lines of the answer so far.
        key: The events and their numbers.
    """

    who: str
    friend: str
    things: str
    count: int
    told: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    key: list[str] = field(default_factory=list)


def sums(dice: Dice) -> Draft:
    """A word problem about things (half), about money (three in ten), or an expression."""
    return dice.weighted((_things, _money, _expression), (0.5, 0.3, 0.2))(dice)


def _things(dice: Dice) -> Draft:
    who, friend = dice.choose(PEOPLE, 2)
    story = Story(who, friend, dice.pick(THINGS), 3 + dice.below(38))
    start = dice.pick(("{0} has {1} {2}.", "{0} starts with {1} {2}.", "There are {1} {2} on the table of {0}."))
    story.told.append(start.format(who, story.count, story.things))
    story.steps.append(f"{who} starts with {story.count} {story.things}.")
    story.key.append(f"things {story.count}")
    for event in dice.choose((_packs, _more, _fewer, _double), 2 + dice.below(2)):
        event(dice, story)
    shares = [number for number in range(2, 10) if story.count % number == 0 and story.count > number]
    if shares and dice.unit() < 0.4:
        return _shared(story, dice.pick(shares), dice.pick(HOLDERS))
    ask = dice.pick(("How many {0} does {1} have now?", "How many {0} are there for {1} in the end?"))
    story.told.append(ask.format(story.things, who))
    return _told(story, story.count)


def _packs(dice: Dice, story: Story) -> None:
    packs, each, holder = 2 + dice.below(5), 2 + dice.below(8), dice.pick(HOLDERS)
    wording = dice.pick(
        ("{0} buys {1} {2} with {3} {4} each.", "Then {1} {2} arrive, and each of the {2} holds {3} {4}.")
    )
    story.told.append(wording.format(story.who, packs, holder, each, story.things))
    story.steps.append(f"The {packs} {holder} hold {packs} * {each} = {packs * each} {story.things}.")
    story.steps.append(f"That makes {story.count} + {packs * each} = {story.count + packs * each} {story.things}.")
    story.count += packs * each
    story.key.append(f"packs {packs} {each}")


def _more(dice: Dice, story: Story) -> None:
    more = 2 + dice.below(28)
    wording = dice.pick(("{0} finds {1} more.", "{2} brings {1} more.", "{0} gets {1} from {2}."))
    story.told.append(wording.format(story.who, more, story.friend))
    story.steps.append(f"With {more} more there are {story.count} + {more} = {story.count + more} {story.things}.")
    story.count += more
    story.key.append(f"more {more}")


def _fewer(dice: Dice, story: Story) -> None:
    if story.count < 4:
        return
    fewer = 1 + dice.below(min(story.count - 2, 40))
    wording = dice.pick(("{0} gives {1} to {2}.", "{0} loses {1} of them.", "{2} takes {1} away."))
    story.told.append(wording.format(story.who, fewer, story.friend))
    story.steps.append(f"Without {fewer} there are {story.count} - {fewer} = {story.count - fewer} {story.things}.")
    story.count -= fewer
    story.key.append(f"fewer {fewer}")


def _double(dice: Dice, story: Story) -> None:
    if story.count * 2 > MOST:
        return
    wording = dice.pick(("A week later there are twice as many.", "{0} gives the same number again."))
    story.told.append(wording.format(story.friend))
    story.steps.append(f"Twice as many are {story.count} * 2 = {story.count * 2} {story.things}.")
    story.count *= 2
    story.key.append("double")


def _shared(story: Story, parts: int, holder: str) -> Draft:
    story.told.append(
        f"{story.who} puts all of them into {parts} {holder}, the same number in each. How many are in each?"
    )
    story.steps.append(f"Each of the {parts} {holder} gets {story.count} / {parts} = {story.count // parts}.")
    story.key.append(f"shared {parts}")
    return _told(story, story.count // parts)


def _told(story: Story, answer: int) -> Draft:
    return Draft(
        question=" ".join(story.told),
        answer="\n".join((*story.steps, f"The answer is {answer}.")),
        key="; ".join(story.key),
        basis=str(answer),
    )


def _money(dice: Dice) -> Draft:
    who, (first, second) = dice.pick(PEOPLE), dice.choose(GOODS, 2)
    costs, counts = [2 + dice.below(8) for _ in range(2)], [2 + dice.below(6) for _ in range(2)]
    a, b = (cost * count for cost, count in zip(costs, counts, strict=True))
    paid = a + b + 1 + dice.below(30)
    opening = dice.pick(
        ("A {0} costs {1} coins and a {2} costs {3} coins.", "In a shop a {0} is {1} coins and a {2} is {3} coins.")
    ).format(first, costs[0], second, costs[1])
    buying = dice.pick(("{0} buys {1} of the first and {2} of the second", "{0} takes {1} {3}s and {2} {4}s"))
    if buying.endswith("s") and {"brush", "scarf"} & {first, second}:
        buying = "{0} buys {1} of the first and {2} of the second"
    told = f"{opening} {buying.format(who, counts[0], counts[1], first, second)}"
    steps = [f"{counts[0]} * {costs[0]} = {a} coins.", f"{counts[1]} * {costs[1]} = {b} coins."]
    steps.append(f"Together {a} + {b} = {a + b} coins.")
    key = f"money {costs} {counts}"
    if dice.unit() < 0.35:
        question, answer = f"{told}. How many coins does {who} pay?", a + b
    else:
        question, answer = f"{told} and pays with {paid} coins. How many coins come back?", paid - a - b
        steps.append(f"Back come {paid} - {a + b} = {answer} coins.")
        key += f" {paid}"
    return Draft(question=question, answer="\n".join((*steps, f"The answer is {answer}.")), key=key, basis=str(answer))


def _expression(dice: Dice) -> Draft:
    """(a + b) * c - d and its relatives, worked from the inside out."""
    a, b, c = 2 + dice.below(40), 2 + dice.below(40), 2 + dice.below(4)
    inner, sign = (a + b, "+") if a <= b or dice.unit() < 0.5 else (a - b, "-")
    steps, asked, value = [f"{a} {sign} {b} = {inner}."], f"({a} {sign} {b})", inner
    if inner * c <= MOST:
        steps.append(f"{inner} * {c} = {inner * c}.")
        asked, value = f"{asked} * {c}", inner * c
    last = 1 + dice.below(30)
    taken = last < value and dice.unit() < 0.5
    result = value - last if taken else value + last
    steps.append(f"{value} {'-' if taken else '+'} {last} = {result}.")
    asked = f"{asked} {'-' if taken else '+'} {last}"
    wording = dice.pick(("What is {0}?", "Work out {0}.", "How much is {0}?"))
    return Draft(
        question=wording.format(asked),
        answer="\n".join((*steps, f"The answer is {result}.")),
        key=asked,
        basis=str(result),
    )
