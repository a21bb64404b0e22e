"""Convolution and pooling by scipy and by hand."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import scipy.signal

from jaxcnn.nn import Conv, avg_pool, conv2d, global_avg_pool, max_pool


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 2), (2, 1), (3, 2)])
def test_convolution_is_scipys_correlation(stride, padding):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 11, 9, 3)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 3, 4)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    expected = np.stack(
        [
            [
                sum(
                    scipy.signal.correlate2d(padded[b, :, :, c], kernel[:, :, c, f], "valid")
                    for c in range(3)
                )[::stride, ::stride]
                for f in range(4)
            ]
            for b in range(2)
        ]
    ).transpose(0, 2, 3, 1)
    y = conv2d(x, kernel, stride=stride, padding=padding)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_ten_filters_of_5x5x3_have_760_parameters():
    layer = Conv(10, 5, padding=2)
    variables = layer.init(jax.random.key(0), np.zeros((1, 32, 32, 3)))
    assert sum(p.size for p in jax.tree.leaves(variables)) == 760
    assert layer.apply(variables, np.zeros((1, 32, 32, 3))).shape == (1, 32, 32, 10)


def test_errors_name_the_value_and_the_rule():
    with pytest.raises(ValueError, match="reaches 5 pixels does not fit a height of 4"):
        Conv(1, 5).init(jax.random.key(0), np.zeros((1, 4, 8, 1)))
    with pytest.raises(ValueError, match="groups=2 must divide both the 3 input"):
        Conv(4, 1, groups=2).init(jax.random.key(0), np.zeros((1, 4, 4, 3)))
    with pytest.raises(ValueError, match="window of 3 does not fit 2 pixels"):
        max_pool(np.zeros((1, 2, 2, 1), np.float32), 3)


def test_max_pooling_takes_windows_and_padding_never_wins():
    x = -1 - np.arange(25, dtype=np.float32).reshape(1, 5, 5, 1)
    expected = [[-1, -2, -4], [-6, -7, -9], [-16, -17, -19]]
    np.testing.assert_array_equal(max_pool(x, 3, stride=2, padding=1)[0, :, :, 0], expected)
    np.testing.assert_array_equal(max_pool(x, 2)[0, :, :, 0], [[-1, -3], [-11, -13]])
    assert max_pool(x, 2, ceil_mode=True).shape == (1, 3, 3, 1)
    # A window that would start in the right padding is left out, as PyTorch does.
    assert max_pool(x, 1, stride=2, padding=0, ceil_mode=True).shape == (1, 3, 3, 1)


def test_averages_are_means():
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(avg_pool(x, 2)[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_array_equal(global_avg_pool(x), [[7.5]])


def test_rounding_up_keeps_a_window_that_hangs_over_the_edge():
    x = np.arange(2.0, dtype=np.float32).reshape(1, 1, 2, 1)
    # PyTorch: a window of 3 with stride 2 on 2 pixels gives one, on 1 pixel none.
    assert max_pool(x, (1, 3), stride=2, ceil_mode=True).ravel().tolist() == [1.0]
    with pytest.raises(ValueError, match="window of 3 does not fit 2 pixels"):
        max_pool(x, (1, 3), stride=2)
    with pytest.raises(ValueError, match="window of 3 does not fit 1 pixels"):
        max_pool(x[:, :, :1], (1, 3), stride=2, ceil_mode=True)
