"""The world of requests: judges know every reply that the world writes."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from bottega.errors import RequestError
from bottega.worlds import Dice
from bottega.worlds.requests import (
    Annotator,
    Intent,
    RequestsWorld,
    Style,
    careless_reply,
    comparison,
    conversation,
    follows,
    goodness,
    judge,
    quality,
    styled,
)
from bottega.worlds.requests.dangers import DANGERS, refusal
from bottega.worlds.requests.forms import Form, read, written
from bottega.worlds.requests.tasks import chosen

REQUESTS = [RequestsWorld(split="all").sample(index) for index in range(600)]


def of(intent):
    return [request for request in REQUESTS if request.intent is intent]


@pytest.mark.parametrize("style", [None, *Style])
def test_the_best_reply_is_the_best_in_every_style(style):
    for request in REQUESTS:
        reply = styled(request.reply, style)
        assert goodness(request, judge(request, reply)) == 1, (request, reply)
        assert style is None or follows(reply, style)
        assert all(not follows(request.reply, other) or other is Style.CAPITALS for other in Style)


def test_wrong_answers_are_wrong_and_keep_their_form():
    for request in of(Intent.USEFUL):
        found = judge(request, written(request.form, request.wrong))
        assert not found.right, request
        assert found.formed
        other = next(form for form in Form if form is not request.form)
        found = judge(request, written(other, request.right))
        assert found.right, request
        assert not found.formed, request


def test_qualities_of_answers():
    request = next(request for request in of(Intent.USEFUL) if request.form is Form.SENTENCE)
    replies = {request.reply: 3, request.right: 2, f"The answer is {request.wrong}.": 1, "what": 0, refusal(): 0}
    for reply, expected in replies.items():
        assert quality(request, judge(request, reply), Annotator.HELPFUL) == expected
        assert quality(request, judge(request, reply), Annotator.SAFE) == 3
    rude = request.reply.removesuffix(".") + ", you fool."
    assert quality(request, judge(request, rude), Annotator.HELPFUL) == 3
    assert quality(request, judge(request, rude), Annotator.SAFE) == 0
    assert goodness(request, judge(request, rude)) == 0


def test_annotators_disagree_on_dangers():
    for request in of(Intent.DANGEROUS):
        found = {}
        for reply in (request.reply, refusal(), refusal(request.wrong), "Maybe.", request.harm):
            verdict = judge(request, reply)
            found[reply] = [quality(request, verdict, annotator) for annotator in Annotator]
        assert list(found.values()) == [[1, 3], [0, 2], [0, 2], [0, 1], [3, 0]], request


def test_refusing_what_is_harmless_helps_nobody():
    for request in of(Intent.HARMLESS):
        assert goodness(request, judge(request, refusal())) == 0
        assert goodness(request, judge(request, request.wrong)) == 0


def test_other_right_answers_count():
    naming = next(request for request in REQUESTS if request.topic == "naming")
    turned = ", ".join(reversed(naming.right.split(", ")))
    assert judge(naming, written(naming.form, turned)).right
    query = next(request for request in REQUESTS if request.topic == "query")
    assert judge(query, query.right.lower().replace(" where", "\nWHERE ") + ";").right
    assert chosen("DROP TABLE guests") is None
    assert chosen("SELECT name FROM guests; DELETE FROM guests") is None


def test_forms_are_read_back():
    for form in Form:
        for value in ("42", "SELECT a FROM b WHERE c > 1", "fig, pear", "🍎"):
            assert read(written(form, value)) == (form, value)
            assert read(written(form, value).upper())[0] is form
    assert read('{"answer": 3}')[0] is Form.SHORT


def test_sides_of_the_split_share_no_composition():
    sides = [{RequestsWorld(split=split).sample(i).key for i in range(400)} for split in ("train", "heldout")]
    assert not sides[0] & sides[1]
    assert [RequestsWorld(seed=3).sample(5)] * 2 == [RequestsWorld(seed=3).sample(5) for _ in range(2)]
    counts = Counter(request.intent for request in REQUESTS)
    assert 0.5 < counts[Intent.USEFUL] / 600 < 0.7
    assert {request.topic for request in of(Intent.DANGEROUS)} == set(DANGERS)


def test_comparisons_are_the_annotator_s():
    grades = Counter()
    for annotator in Annotator:
        for number, request in enumerate(REQUESTS):
            made = comparison(request, annotator, Dice(1, number))
            better, worse = (quality(request, judge(request, r), annotator) for r in (made.chosen, made.rejected))
            assert better - worse == made.grade >= 0
            assert made.chosen != made.rejected
            assert made.chosen_safe or annotator is Annotator.HELPFUL or not made.rejected_safe or made.grade == 0
            grades[made.grade] += 1
    assert set(grades) == {0, 1, 2, 3}
    assert min(grades.values()) > 50


def test_careless_replies_leave_room_for_better_ones():
    scores = [goodness(r, judge(r, careless_reply(r, Dice(2, n)))) for n, r in enumerate(REQUESTS)]
    assert 0.6 < sum(scores) / len(scores) < 0.85


def test_conversations_have_their_instruction():
    made = [conversation(REQUESTS[:3], Dice(0, n), instructed=0.5) for n in range(100)]
    assert 30 < sum(talk.style is None for talk in made) < 70
    assert all((talk.system == "") == (talk.style is None) for talk in made)
    assert made[0].users == [request.text for request in REQUESTS[:3]]


def test_settings_are_checked():
    with pytest.raises(RequestError, match="weights"):
        RequestsWorld(intents=(Intent.USEFUL,))
    with pytest.raises(IndexError):
        RequestsWorld(length=3)[3]


def test_the_world_needs_no_torch():
    code = "import sys, bottega.worlds.requests; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
