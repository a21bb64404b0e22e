"""The order of training examples: a function of the step, each example once per epoch."""

from __future__ import annotations

import numpy as np
import pytest

from jaxcnn.data import Order
from jaxcnn.data.order import permutation


@pytest.mark.parametrize(("size", "batch"), [(10, 4), (12, 4), (7, 7), (5, 12), (1, 3)])
def test_each_example_stands_once_in_each_epoch(size, batch):
    order = Order(size, batch, seed=3)
    steps = [order.rows(step) for step in range(3 * size)]
    index = np.concatenate([index for index, _ in steps])
    epoch = np.concatenate([epoch for _, epoch in steps])
    np.testing.assert_array_equal(epoch, np.arange(len(epoch)) // size)
    for e in range(epoch[-1]):
        assert sorted(index[epoch == e]) == list(range(size))


def test_a_batch_straddles_the_end_of_an_epoch():
    index, epoch = Order(5, 4, seed=0).rows(1)
    assert epoch.tolist() == [0, 1, 1, 1]
    expected = [permutation(5, 0, 0)[4], *permutation(5, 0, 1)[:3]]
    assert index.tolist() == expected


def test_dtypes_are_fixed():
    index, epoch = Order(5, 4, seed=0).rows(0)
    assert (index.dtype, epoch.dtype) == (np.int64, np.int32)


def test_a_step_far_away_needs_none_of_those_before():
    forward = Order(1000, 64, seed=1)
    rows = [forward.rows(step)[0] for step in range(40)]
    np.testing.assert_array_equal(Order(1000, 64, seed=1).rows(39)[0], rows[39])
    np.testing.assert_array_equal(forward.rows(2)[0], rows[2])


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [permutation(100, seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_without_shuffling_examples_come_as_they_lie():
    assert Order(5, 3, seed=0, shuffle=False).rows(1)[0].tolist() == [3, 4, 0]


def test_the_permutation_is_pinned():
    # Raw Philox output does not change with NumPy's version; a change here changes every run.
    assert permutation(10, 0, 0).tolist() == PINNED[0, 0]
    assert permutation(10, 2**63 - 1, 7).tolist() == PINNED[2**63 - 1, 7]


@pytest.mark.parametrize("arguments", [(0, 4, 0), (4, 0, 0), (4, 4, -1), (4, 4, 2**63)])
def test_numbers_that_cannot_be_are_refused(arguments):
    with pytest.raises(ValueError, match=r"must be positive|must lie in 0"):
        Order(*arguments)
    with pytest.raises(ValueError, match="step=-1"):
        Order(4, 4, 0).rows(-1)


PINNED = {
    (0, 0): [0, 2, 9, 1, 8, 5, 4, 3, 6, 7],
    (2**63 - 1, 7): [6, 9, 2, 3, 1, 7, 4, 5, 8, 0],
}
