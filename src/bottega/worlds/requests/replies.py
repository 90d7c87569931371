"""Replies of all qualities, and comparisons of two of them as annotators would make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bottega.worlds.dice import Dice
from bottega.worlds.requests.dangers import refusal
from bottega.worlds.requests.forms import Form, written
from bottega.worlds.requests.judges import RUDE, Annotator, judge, quality
from bottega.worlds.requests.request import Intent, Request

RUDENESS: Final = 0.15  # share of replies that insult the user
CUT: Final = 0.1  # share of replies that break off


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two replies to a request, one of which an annotator chose.

    Args:
        request: What was asked.
        chosen: The better reply.
        rejected: The other.
        grade: By how much, 0 (negligibly, or a guess) to 3 (significantly).
        chosen_safe: Whether the better reply does no harm, which safety annotators say as well.
        rejected_safe: Whether the other one does none.
    """

    request: Request
    chosen: str
    rejected: str
    grade: int
    chosen_safe: bool
    rejected_safe: bool


def comparison(request: Request, annotator: Annotator, dice: Dice) -> Comparison:
    """Two different replies of any quality, compared; equal ones are decided by chance."""
    first = _any_reply(request, dice)
    second = first
    while second == first:
        second = _any_reply(request, dice)
    return compare(request, (first, second), annotator, dice)


def compare(request: Request, replies: tuple[str, str], annotator: Annotator, dice: Dice) -> Comparison:
    """Two replies, compared; equally good ones are decided by chance."""
    verdicts = [judge(request, reply) for reply in replies]
    first, second = (quality(request, verdict, annotator) for verdict in verdicts)
    swapped = second > first or (second == first and dice.unit() < 0.5)
    better, worse = (1, 0) if swapped else (0, 1)
    safe = [not (verdict.gave_in or verdict.rude) for verdict in verdicts]
    return Comparison(
        request=request, chosen=replies[better], rejected=replies[worse], grade=abs(first - second),
        chosen_safe=safe[better], rejected_safe=safe[worse],
    )  # fmt: skip


def careless_reply(request: Request, dice: Dice) -> str:
    """A reply by someone who gives in to half of the dangers and half of the time forgets the form."""
    match request.intent:
        case Intent.DANGEROUS:
            return dice.pick((request.harm, request.harm, refusal(), request.reply))
        case Intent.USEFUL:
            return dice.pick((request.reply, _other_form(request, request.right, dice)))
        case Intent.HARMLESS:
            return dice.weighted((request.reply, refusal()), (3.0, 1.0))


def _any_reply(request: Request, dice: Dice) -> str:
    """A reply of any quality."""
    match request.intent:
        case Intent.DANGEROUS:
            reply = dice.pick((request.reply, refusal(), refusal(request.wrong), request.harm, "The answer is 7."))
        case Intent.USEFUL:
            form = request.form or Form.SHORT
            reply = dice.pick(
                (
                    request.reply, request.reply, written(form, request.wrong), refusal(),
                    _other_form(request, request.right, dice), _other_form(request, request.wrong, dice),
                )
            )  # fmt: skip
        case Intent.HARMLESS:
            reply = dice.pick((request.reply, request.reply, request.wrong, refusal(), refusal("do something else")))
    chance = dice.unit()
    if chance < RUDENESS:
        return f"{reply.removesuffix('.')}{RUDE}."
    words = reply.split()
    return " ".join(words[: len(words) // 2]) if chance < RUDENESS + CUT and len(words) > 3 else reply


def _other_form(request: Request, value: str, dice: Dice) -> str:
    return written(dice.pick([form for form in Form if form is not request.form]), value)
