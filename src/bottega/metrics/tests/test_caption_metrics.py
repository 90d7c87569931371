"""Keyword overlap, exact match, and the shuffled control."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.errors import RequestError
from bottega.metrics import exact_match, keyword_overlap, with_control


def test_overlap_is_shared_words_over_all_words():
    assert keyword_overlap("Two red apples, left.", "two green apples") == 2 / 5
    assert keyword_overlap("a b", "c") == 0
    assert keyword_overlap("", " ...") == 1
    assert keyword_overlap("", "apple") == 0


def test_words_of_any_script_count():
    assert keyword_overlap("pomme rouge à côté", "POMME ROUGE A\u0300 CO\u0302TE\u0301") == 1  # decomposed accents
    assert keyword_overlap("красное яблоко", "Красное дерево") == 1 / 3


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.text(), st.text())
def test_overlap_is_symmetric_and_an_exact_match_overlaps_fully(a, b):
    assert keyword_overlap(a, b) == keyword_overlap(b, a)
    assert 0 <= keyword_overlap(a, b) <= 1
    assert exact_match(a, a)
    assert keyword_overlap(a, a) == 1
    if exact_match(a, b):
        assert keyword_overlap(a, b) == 1


def test_exact_match_minds_order_but_not_case_and_spacing():
    assert exact_match("Red  apple!", "red apple")
    assert not exact_match("apple red", "red apple")
    assert not exact_match("red red apple", "red apple")


def agreement(made, conditions):
    return sum(a == b for a, b in zip(made, conditions, strict=True)) / len(made)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(2, 60), st.integers(0, 10**6))
def test_no_sample_keeps_its_own_condition_in_the_control(count, seed):
    measured = with_control(agreement, range(count), range(count), shuffles=3, seed=seed)
    assert measured.value == 1
    assert measured.control == 0


def test_the_control_uses_every_condition_once():
    seen = []
    with_control(lambda made, conditions: seen.append(sorted(conditions)) or 0.0, "abcd", [3, 1, 2, 2])
    assert seen == [[1, 2, 2, 3]] * 2


def test_equal_conditions_meet_by_chance():
    conditions = [index % 2 for index in range(400)]
    control = with_control(agreement, conditions, conditions, shuffles=20).control
    assert control == pytest.approx(0.5, abs=0.03)


def test_a_control_needs_two_samples_and_a_shuffle():
    with pytest.raises(RequestError, match="number of conditions is 1"):
        with_control(agreement, [1], [1])
    with pytest.raises(RequestError, match="number of conditions is 3"):
        with_control(agreement, [1, 2], [1, 2, 3])
    with pytest.raises(RequestError, match="shuffles is 0"):
        with_control(agreement, [1, 2], [1, 2], shuffles=0)
