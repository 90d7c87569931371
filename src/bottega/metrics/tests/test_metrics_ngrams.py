import math

import pytest

from bottega.metrics import NGrams


def learned(order, *sequences, vocabulary=5):
    model = NGrams(order, vocabulary)
    model.learn(sequences)
    return model


def test_chances_are_those_of_the_formula():
    model = learned(2, [0, 1, 0, 2])
    single = (2 + 3 / 5) / (4 + 3)  # token 0: seen twice of four, three kinds
    assert model.chance([], 0) == pytest.approx(single)
    assert model.chance([1], 0) == pytest.approx((1 + 1 * single) / (1 + 1))
    assert model.chance([2], 0) == pytest.approx(single)  # nothing was seen behind 2
    assert model.chance([3, 1], 0) == model.chance([1], 0)  # only one id back


@pytest.mark.parametrize("context", [[], [0], [1, 0], [4, 4, 4], [0, 1, 0, 2]])
def test_chances_sum_to_one(context):
    model = learned(3, [0, 1, 0, 2, 3, 0, 1], [2, 2])
    assert sum(model.chance(context, token) for token in range(5)) == pytest.approx(1.0)


def test_longer_contexts_know_more():
    text = [0, 1, 2, 3, 4, 0, 2, 1, 3] * 30
    losses = [-sum(learned(order, text).log_chances(text)) / len(text) for order in (1, 2, 3, 5)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 1.5
    assert losses[-1] < 0.3
    assert learned(1).chance([], 3) == pytest.approx(1 / 5)
    assert learned(2, text).log_chances(text, start=len(text) - 1) == [
        pytest.approx(math.log(learned(2, text).chance([1], 3)))
    ]


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="order 0"):
        NGrams(0, 5)
