import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from bottega.errors import RequestError
from bottega.worlds.queries import Passage, QueriesWorld, Topic, is_right
from bottega.worlds.queries.judges import rows
from bottega.worlds.queries.sql import TABLES, script

ASKING = [topic for topic in Topic if topic is not Topic.DOCS]


def only(topic, split="train", count=200, seed=0):
    return QueriesWorld(topics=(topic,), split=split, seed=seed).batch(range(count))


def test_same_seed_same_passages_in_any_order():
    world, indices = QueriesWorld(), [0, 7, 3, 10**9, 12]
    assert world.batch(indices) == [world.sample(index) for index in reversed(indices)][::-1]
    assert replace(world, seed=1).batch(indices) != world.batch(indices)


def test_passages_do_not_depend_on_the_process_and_need_no_torch():
    code = (
        "import sys; from bottega.worlds.queries import QueriesWorld\n"
        "for passage in QueriesWorld().batch(range(60)): print(repr(passage))\n"
        "assert 'torch' not in sys.modules"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.count("\n") == 60


@pytest.mark.parametrize("topic", Topic)
def test_splits_share_no_passage_and_are_varied(topic):
    train, held_out = ({p.text for p in only(topic, split, 600)} for split in ("train", "heldout"))
    assert not train & held_out
    assert len(train) > (100 if topic is Topic.DOCS else 500)
    assert len(held_out) > (30 if topic is Topic.DOCS else 300)


def test_held_out_queries_have_other_columns_and_conditions():
    without_numbers = [{re.sub(r"\d", "", p.answer) for p in only(Topic.SQL, split)} for split in ("train", "heldout")]
    assert not without_numbers[0] & without_numbers[1]


@pytest.mark.parametrize("topic", ASKING)
def test_right_answers_are_right_and_those_of_others_wrong(topic):
    passages = only(topic)
    assert all(is_right(passage, passage.answer) for passage in passages)
    shuffled = [is_right(a, b.answer) for a, b in zip(passages, passages[1:], strict=False) if a.answer != b.answer]
    assert sum(shuffled) <= (12 if topic is Topic.SUMS else 0)
    assert all(passage.text == passage.prompt + passage.answer for passage in passages)
    assert not any(is_right(passage, "") for passage in passages)


def test_steps_of_sums_are_true():
    for passage in only(Topic.SUMS):
        steps = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", passage.answer)
        for left, sign, right, result in steps:
            a, b = int(left), int(right)
            assert {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign] == int(result)
        assert steps[-1][-1] == passage.basis


def test_a_query_may_be_written_differently_but_not_mean_another():
    passage = next(p for p in only(Topic.SQL) if "LIMIT" in p.answer and "JOIN" not in p.answer)
    other = passage.answer.replace(";", "").replace("\n", " ").lower().replace("'", "'")
    assert is_right(passage, other)
    assert not is_right(passage, re.sub(r"LIMIT \d+", "LIMIT 1", passage.answer))
    assert not is_right(passage, passage.answer.replace("SELECT", "SELEKT"))


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE books",
        "INSERT INTO books VALUES ('a', 'b', 1, 2, 3)",
        "ATTACH DATABASE 'other' AS other",
        "PRAGMA table_info(books)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
        "SELECT COUNT(*) FROM orders a, orders b, orders c, orders d",
        "SELECT 1; SELECT 2",
        "SELECT load_extension('x')",
        "SELECT '\0'",
    ],
)
def test_queries_that_do_more_than_read_or_do_not_end_have_no_rows(query):
    assert rows(script(TABLES[0]), query) is None


def test_judges_know_near_misses():
    json = next(p for p in only(Topic.JSON) if '"paid": true' in p.answer)
    assert is_right(json, json.answer.replace('"paid": true', '"paid":   true'))
    assert not is_right(json, json.answer.replace("true", "1"))
    assert not is_right(json, json.answer[:-1])
    code = only(Topic.CODE)[0]
    assert is_right(code, code.answer.replace(" = ", "  =  "))
    assert not is_right(code, code.answer.replace("return", "yield"))
    sums = only(Topic.SUMS)[0]
    assert is_right(sums, f"The answer is {sums.basis}.")
    assert not is_right(sums, f"The answer is {sums.basis}0.")
    talk = only(Topic.DIALOGUE)[0]
    assert is_right(talk, talk.basis.replace("|", " and "))
    assert not is_right(talk, talk.basis.replace("|", " and ")[:-1])


def test_what_asks_nothing_has_no_right_answer():
    passage = only(Topic.DOCS)[0]
    assert passage == Passage(text=passage.text, topic=Topic.DOCS)
    assert passage.prompt == ""
    with pytest.raises(RequestError, match="docs asks nothing"):
        is_right(passage, passage.text)


def test_topics_come_as_often_as_their_weights():
    weights = (67.0, 15.0, 4.5, 4.5, 4.5, 2.5, 2.0)
    counts = Counter(p.topic for p in QueriesWorld(weights=weights).batch(range(2000)))
    expected = [2000 * weight / 100 for weight in weights]
    chi_square = sum((counts[topic] - mean) ** 2 / mean for topic, mean in zip(Topic, expected, strict=True))
    assert chi_square < 22.5  # 6 degrees of freedom, one in a thousand
    assert len({p.topic for p in QueriesWorld(topics=(Topic.SQL, Topic.CODE)).batch(range(50))}) == 2


def test_map_style_and_settings():
    world = QueriesWorld(length=3)
    assert len(list(world)) == len(world) == 3
    for settings in (
        {"split": "test"},
        {"length": 0},
        {"topics": ()},
        {"topics": (Topic.SQL, Topic.SQL)},
        {"weights": (1.0,)},
        {"topics": (Topic.SQL,), "weights": (0.0,)},
    ):
        with pytest.raises(RequestError, match=f"{list(settings)[-1]} is"):
            QueriesWorld(**settings)
