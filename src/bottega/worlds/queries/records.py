"""Records in words, and the same as JSON."""

from __future__ import annotations

import json
from typing import Any

from bottega.worlds.dice import Dice
from bottega.worlds.english import listed
from bottega.worlds.queries.passage import Draft
from bottega.worlds.queries.words import CITIES, COLORS, DAYS, GOODS, JOBS, LIKES, PEOPLE, SURNAMES

ASK = ("Write this as JSON: ", "As a JSON object: ", "Turn into JSON. ")


def records(dice: Dice) -> Draft:
    """A record of a person, an order, a journey or a day's weather."""
    words, record = dice.pick((_person, _order, _journey, _weather))(dice)
    answer = json.dumps(record, indent=1 if dice.unit() < 0.5 else None)
    wish = " Use one line." if "\n" not in answer else ""
    return Draft(
        question=dice.pick(ASK) + words + wish,
        answer=answer,
        key=json.dumps(record),
        basis=json.dumps(record),
    )


def _person(dice: Dice) -> tuple[str, dict[str, Any]]:
    name, age, city = f"{dice.pick(PEOPLE)} {dice.pick(SURNAMES)}", 18 + dice.below(60), dice.pick(CITIES)
    job, likes = dice.pick(JOBS), dice.choose(LIKES, 1 + dice.below(3))
    wording = dice.pick(
        (
            "{0} is {1} years old, lives in {2}, works as a {3} and likes {4}.",
            "A {3} of {1} years from {2} named {0} likes {4}.",
        )
    )
    record = {"name": name, "age": age, "city": city, "job": job, "likes": likes}
    return wording.format(name, age, city, job, listed(likes)), record


def _order(dice: Dice) -> tuple[str, dict[str, Any]]:
    number, who = 1000 + dice.below(9000), dice.pick(PEOPLE)
    goods = [
        {"item": item, "color": dice.pick(COLORS), "count": 1 + dice.below(9)}
        for item in dice.choose(GOODS, 1 + dice.below(3))
    ]
    things = listed([f"{good['count']} of the {good['color']} {good['item']}" for good in goods])
    paid = dice.unit() < 0.5
    words = f"Order {number} by {who}: {things}, {'paid' if paid else 'not paid'}."
    return words, {"order": number, "customer": who, "goods": goods, "paid": paid}


def _journey(dice: Dice) -> tuple[str, dict[str, Any]]:
    (start, end), day = dice.choose(CITIES, 2), dice.pick(DAYS)
    hour, minute, seats = 5 + dice.below(18), 5 * dice.below(12), 1 + dice.below(6)
    by = dice.pick(("train", "bus", "ship"))
    wording = dice.pick(
        ("A {5} from {0} to {1} on {2} at {3} with {4} seats.", "On {2} at {3} a {5} goes from {0} to {1}, {4} seats.")
    )
    time = f"{hour:02}:{minute:02}"
    record = {"from": start, "to": end, "day": day, "time": time, "seats": seats, "by": by}
    return wording.format(start, end, day, time, seats, by), record


def _weather(dice: Dice) -> tuple[str, dict[str, Any]]:
    city, day, low = dice.pick(CITIES), dice.pick(DAYS), dice.below(25) - 8
    high, sky = low + 3 + dice.below(10), dice.pick(("clear", "cloudy", "rain", "snow", "fog"))
    words = f"{day} in {city}: {sky}, between {low} and {high} degrees."
    return words, {"city": city, "day": day, "sky": sky, "degrees": {"low": low, "high": high}}
