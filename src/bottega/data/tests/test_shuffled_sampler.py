"""The order of training: permutations, resuming, and independence of the number of processes."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.data import ShuffledSampler, shuffled
from bottega.errors import RequestError

repeatable = settings(max_examples=40, deadline=None, derandomize=True)
lengths = st.integers(1, 400) | st.sampled_from([255, 256, 257, 1023, 1024, 1025])
seeds = st.integers(-(2**70), 2**70)


@repeatable
@given(lengths, seeds, st.integers(0, 10**12))
def test_each_epoch_is_a_permutation(length, seed, epoch):
    positions = np.arange(epoch * length, (epoch + 1) * length)
    assert sorted(shuffled(positions, length, seed)) == list(range(length))


@repeatable
@given(lengths, seeds, st.integers(1, 50), st.integers(1, 3))
def test_batches_hold_every_index_once_an_epoch(length, seed, batch_size, epochs):
    sampler = ShuffledSampler(length, batch_size, seed)
    count = -(-epochs * length // batch_size)
    drawn = [index for batch in itertools.islice(sampler, count) for index in batch]
    for epoch in range(epochs):
        assert sorted(drawn[epoch * length : (epoch + 1) * length]) == list(range(length))
    assert sampler.epoch == pytest.approx(count * batch_size / length)


@repeatable
@given(lengths, seeds, st.sampled_from([1, 2, 3, 4, 6, 12]), st.integers(1, 4))
def test_ranks_share_the_same_global_batches(length, seed, world_size, batches):
    whole = ShuffledSampler(length, 12, seed)
    ranks = [ShuffledSampler(length, 12, seed, rank, world_size) for rank in range(world_size)]
    for _ in range(batches):
        assert sum((next(rank) for rank in ranks), []) == next(whole)


@repeatable
@given(lengths, seeds, st.integers(0, 40), st.sampled_from([1, 2, 4]))
def test_a_restored_sampler_goes_on_exactly(length, seed, before, world_size):
    """Also on another number of processes than the one that was stopped."""
    whole = ShuffledSampler(length, 4, seed)
    for _ in range(before):
        next(whole)
    ranks = [ShuffledSampler(length, 4, seed, rank, world_size) for rank in range(world_size)]
    for rank in ranks:
        rank.restore(whole.state())
    for _ in range(3):
        assert sum((next(rank) for rank in ranks), []) == next(whole)


def test_state_is_what_was_drawn_and_nothing_moves_by_looking():
    sampler = ShuffledSampler(10, 4, 7)
    next(sampler)
    assert sampler.state() == sampler.state()
    assert sampler.state().batches == 1


@pytest.mark.parametrize("change", [{"length": 11}, {"batch_size": 5}, {"seed": 8}])
def test_a_state_of_another_run_is_refused(change):
    sampler = ShuffledSampler(10, 4, 7)
    with pytest.raises(RequestError, match=next(iter(change))):
        sampler.restore(replace(sampler.state(), **change))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 4, 0), "length is 0"),
        ((10, 0, 0), "batch_size is 0"),
        ((10, 5, 0, 0, 2), "multiple of world_size, which is 2"),
        ((10, 4, 0, 2, 2), "rank is 2"),
        ((10, 4, 0, -1, 2), "rank is -1"),
        ((10, 4, 0, 0, 0), "world_size is 0"),
    ],
)
def test_impossible_arguments_are_refused(arguments, words):
    with pytest.raises(RequestError) as caught:
        ShuffledSampler(*arguments)
    assert words in str(caught.value)


def test_epochs_and_seeds_differ():
    first = shuffled(np.arange(1000), 1000, 0)
    for other in (shuffled(np.arange(1000, 2000), 1000, 0), shuffled(np.arange(1000), 1000, 1)):
        assert np.mean(first == other) < 0.01  # one in a thousand by chance
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.15  # five standard deviations


@pytest.mark.parametrize("length", [5, 16, 30])
def test_every_index_comes_at_every_place_equally_often(length):
    """Chi-squared over (place, index), about normal with mean (n-1)^2 and variance 2 (n-1)^2 for fair permutations."""
    epochs = 40 * length
    starts = np.arange(epochs) * length
    indices = np.stack([shuffled(start + np.arange(length), length, seed=3) for start in starts])
    counts = np.stack([np.bincount(column, minlength=length) for column in indices.T])
    expected = epochs / length
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = (length - 1) ** 2
    assert abs(statistic - freedom) < 5 * (2 * freedom) ** 0.5


def test_neighbours_are_torn_apart():
    """Of a fair permutation of 10,000, about 2 of the 9,999 differences are 1 or -1."""
    order = shuffled(np.arange(10_000), 10_000, seed=0)
    assert (abs(np.diff(order)) == 1).sum() < 15


def test_a_very_long_source_costs_no_more_than_its_batch():
    sampler = ShuffledSampler(10**13, 64, 0)
    drawn = [index for batch in itertools.islice(sampler, 20) for index in batch]
    assert len(set(drawn)) == len(drawn) == 1280
    tenths = Counter(index * 10 // 10**13 for index in drawn)
    assert set(tenths) == set(range(10))
    assert max(tenths.values()) < 200


def test_the_order_never_changes():
    """Frozen, because checkpoints of users' runs continue with it."""
    sampler = ShuffledSampler(10, 4, 0)
    assert [next(sampler) for _ in range(5)] == [[8, 7, 9, 1], [0, 6, 5, 3], [2, 4, 6, 2], [8, 4, 1, 3], [7, 5, 0, 9]]
