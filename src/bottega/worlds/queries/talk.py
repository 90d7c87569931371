"""Conversations of a few turns in which the last reply confirms what was said."""

from __future__ import annotations

from bottega.worlds.dice import Dice
from bottega.worlds.english import listed
from bottega.worlds.queries.passage import Draft
from bottega.worlds.queries.words import CITIES, DAYS, GOODS, LIKES, PEOPLE

HELLO = ("Hello!", "Good morning.", "Hi there.", "Good evening.")
SURE = ("Of course.", "Gladly.", "Sure.", "No problem.")


def talk(dice: Dice) -> Draft:
    """A table at a restaurant, a parcel, a gift, or a journey."""
    turns, reply, facts = dice.pick((_table, _parcel, _gift, _journey))(dice)
    lines = [f"{'Guest' if number % 2 == 0 else 'Host'}: {turn}" for number, turn in enumerate(turns)]
    return Draft(question="\n".join([*lines, "Host:"]), answer=reply, key="|".join(facts), basis="|".join(facts))


def _table(dice: Dice) -> tuple[list[str], str, list[str]]:
    who, day, people, hour = dice.pick(PEOPLE), dice.pick(DAYS), 2 + dice.below(8), 5 + dice.below(5)
    turns = [
        f"{dice.pick(HELLO)} {dice.pick(('I would like a table', 'Can I have a table', 'I need a table'))} for {day}.",
        f"{dice.pick(SURE)} For how many people, and when?",
        f"For {people}, at {hour} in the evening.",
        "And your name, please?",
        dice.pick(("It is {0}.", "My name is {0}.", "{0}.")).format(who),
    ]
    reply = f"Thank you, {who}. A table for {people} people on {day} at {hour} is yours."
    return turns, reply, [who, str(people), day, str(hour)]


def _parcel(dice: Dice) -> tuple[list[str], str, list[str]]:
    number, city, day = 100 + dice.below(900), dice.pick(CITIES), dice.pick(DAYS)
    turns = [
        f"{dice.pick(HELLO)} {dice.pick(('Where is my parcel?', 'My parcel is late.', 'I miss a parcel.'))}",
        f"{dice.pick(('I am sorry.', 'Let me look.'))} What is its number, and where does it go?",
        f"Number {number}, to {city}.",
        f"{dice.pick(('It left today.', 'It is on its way.'))} Which day suits you?",
        f"{dice.pick(('On', 'Please come on', 'Best on'))} {day}.",
    ]
    return turns, f"Parcel {number} will reach {city} on {day}.", [str(number), city, day]


def _gift(dice: Dice) -> tuple[list[str], str, list[str]]:
    who, (thing, other), likes = dice.pick(PEOPLE), dice.choose(GOODS, 2), dice.choose(LIKES, 2)
    turns = [
        f"{dice.pick(HELLO)} I look for a gift for {who}.",
        f"{dice.pick(SURE)} What does {who} like?",
        f"{dice.pick(('Mostly', 'I think'))} {listed(likes)}.",
        f"Then a {thing} or a {other}?",
        f"{dice.pick(('The', 'I take the', 'Rather the'))} {dice.pick((thing, other))}.",
    ]
    chosen = turns[-1].split()[-1].removesuffix(".")
    reply = f"A {chosen} for {who}, who likes {listed(likes)}: a good choice."
    return turns, reply, [chosen, who, *likes]


def _journey(dice: Dice) -> tuple[list[str], str, list[str]]:
    (start, end), day, seats = dice.choose(CITIES, 2), dice.pick(DAYS), 1 + dice.below(5)
    turns = [
        f"{dice.pick(HELLO)} {dice.pick(('I want to go to', 'When is the next train to', 'A ticket to'))} {end}.",
        f"{dice.pick(SURE)} Where do you start?",
        f"{dice.pick(('From', 'In'))} {start}, on {day}.",
        "How many seats?",
        f"{seats}{dice.pick((', please.', '.', ' seats.'))}",
    ]
    return turns, f"From {start} to {end} on {day}, seats: {seats}. Have a good journey!", [start, end, day, str(seats)]
